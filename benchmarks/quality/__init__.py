"""Accuracy of Graft and its peers over a fixed battery of image sets, against seconds: `make quality`."""
