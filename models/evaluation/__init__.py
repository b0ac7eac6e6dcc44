"""Metrics, and the exact test of the delivered network."""
