"""Experiments: what each kind of technique does on real pictures, measured; `make experiments` writes the page."""
