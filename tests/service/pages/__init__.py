"""Tests of service pages."""
