"""Tests of the comparison over the battery of image sets."""
