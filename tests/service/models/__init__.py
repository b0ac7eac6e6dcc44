"""Tests of service models."""
