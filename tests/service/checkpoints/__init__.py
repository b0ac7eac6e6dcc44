"""Tests of service checkpoints."""
