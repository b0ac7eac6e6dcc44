"""Peers: a whole job of Graft beside the same job of other libraries, in the same run: `make peers`."""
