"""Tests of the fault injection, and a short form of it."""
