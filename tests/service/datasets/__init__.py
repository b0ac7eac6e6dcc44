"""Tests of service datasets."""
