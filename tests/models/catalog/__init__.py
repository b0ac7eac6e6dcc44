"""Tests of techniques and the recipe."""
