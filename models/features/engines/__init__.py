"""Inference engines: they compute the frozen trunk, a full batch of uint8 images at a time."""
