"""Tests of docs, the guide."""
