"""Exports: checkpoints in other formats."""
