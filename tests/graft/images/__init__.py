"""Tests of graft.images."""
