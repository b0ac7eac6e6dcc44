"""Benchmarks: one command a figure, medians of paired runs, the machine named."""
