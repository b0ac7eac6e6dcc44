"""Tests of the readers of SavedModels and TFLite files."""
