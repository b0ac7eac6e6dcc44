"""Python client of Graft: train on a service, and download checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.aio.client import AsyncClient
    from graft.client import Client
    from graft.errors import DownloadDamaged, GraftError, InputUnusable, WorkFailed

__all__ = ["AsyncClient", "Client", "DownloadDamaged", "GraftError", "InputUnusable", "WorkFailed"]

HOMES = {"AsyncClient": "graft.aio.client", "Client": "graft.client"}
"""Modules of the clients; errors are in graft.errors."""


def __getattr__(name: str) -> Any:
    """Import what is asked for: graft.images needs no HTTP, and who uses one client does not need the other."""
    if name not in __all__:
        raise AttributeError(f"module 'graft' has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES.get(name, "graft.errors")), name)
