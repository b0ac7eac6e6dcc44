"""Whole files of Keras 2 and 3 as networks of torch, read from their configuration and weights as data."""
