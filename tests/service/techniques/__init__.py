"""Tests of service techniques."""
