"""Comparison with other libraries: a whole job of Graft and the same job of its peers, in one run: `make peers`."""
