"""Tests of the schema steps."""
