"""Checkpoints: results, stored by content and streamed as files."""
