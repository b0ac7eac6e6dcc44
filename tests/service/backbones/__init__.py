"""Tests of service backbones."""
