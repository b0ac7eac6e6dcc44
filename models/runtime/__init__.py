"""Devices, random number generators, micro-batches, stop conditions, and the checkpoint file format."""
