"""Tests of the sources of backbones."""
