"""Tests of importing backbones from files."""
