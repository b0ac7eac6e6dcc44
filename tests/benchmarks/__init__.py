"""Tests of the benchmarks: their inputs and their arithmetic, never durations."""
