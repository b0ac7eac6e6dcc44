"""Engines: what computes a frozen network. Each takes pictures as bytes, a whole batch at once."""
