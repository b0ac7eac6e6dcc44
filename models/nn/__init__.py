"""Layers and losses that torch lacks."""
