"""Trace networks into graphs, cut them into trunk and top, and replace their classifiers."""
