"""Tests of service jobs."""
