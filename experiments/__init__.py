"""Experiments: what each kind of technique does on real images, measured; `make experiments` writes the page."""
