"""Devices, random numbers, memory and the file format, for everything above."""
