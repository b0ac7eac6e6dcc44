"""Tests of service cache."""
