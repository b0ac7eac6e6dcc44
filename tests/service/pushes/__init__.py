"""Pushes of a checkpoint."""
