"""Tests of graft.aio."""
