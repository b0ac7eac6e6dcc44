"""Experiments: effects of techniques on real images; `make experiments` writes docs/experiments.md."""
