"""Techniques: the catalog as JSON Schema."""
