"""Python client of Graft: train on a service, and download checkpoints."""

from graft.client import Client
from graft.errors import DownloadDamaged, GraftError

__all__ = ["Client", "DownloadDamaged", "GraftError"]
