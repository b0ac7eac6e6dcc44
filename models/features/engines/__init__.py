"""Engines: what computes a frozen network. Each takes images as bytes, a whole batch at once."""
