"""Tests of archives, layouts, packs and splits."""
