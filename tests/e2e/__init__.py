"""Tests that drive the whole service from outside."""
