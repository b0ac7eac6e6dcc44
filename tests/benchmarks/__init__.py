"""Tests of the benchmarks: what they prepare and what they reckon, never how long anything takes."""
