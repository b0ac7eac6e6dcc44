"""Metrics of classifiers, and test predictions equal to those of the downloaded network."""
