"""The client of Graft: what a user's own Python needs to train and to download."""

from graft.client import Client
from graft.errors import DownloadDamaged, GraftError

__all__ = ["Client", "DownloadDamaged", "GraftError"]
