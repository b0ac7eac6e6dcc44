"""Errors of devices, named without torch: a supervisor tells them apart, too."""


class GpuError(RuntimeError):
    """A GPU has failed, and its process cannot use it any more."""
