"""Backbones: the pretrained networks that a job can name."""
