"""Tests of the readers of Keras files."""
