"""Errors of devices. Imports no torch, since the supervisor reads them too."""


class GpuError(RuntimeError):
    """A GPU has failed, and its process cannot use it any more."""
