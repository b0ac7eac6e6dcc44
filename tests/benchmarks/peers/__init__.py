"""Tests of the comparison with other libraries."""
