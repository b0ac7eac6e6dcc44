"""Tests of graft."""
