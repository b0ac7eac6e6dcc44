"""Recommendations: backbones ranked on the images of a dataset, before any job trains on them."""
