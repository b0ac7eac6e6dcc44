"""Tests of service keys."""
