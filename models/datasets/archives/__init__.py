"""Readers of archives that strangers upload."""
