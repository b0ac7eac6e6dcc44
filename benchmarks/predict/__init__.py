"""Costs of predictions; `make predict`."""
