"""Tests of the contest with other libraries."""
