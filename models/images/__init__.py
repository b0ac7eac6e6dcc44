"""Decoding, preprocessing and augmented views of images."""
