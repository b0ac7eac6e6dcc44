"""Options of HTTP clients of a service: its address, the key, and no proxy for this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

ADDRESS = "http://127.0.0.1:8000"
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")


def choose_address(url: str | None = None) -> str:
    """Choose the address of the service: the one that is given, else GRAFT_URL, else this machine's."""
    return url or os.environ.get("GRAFT_URL", ADDRESS)


def build_options(url: str, timeout: float | httpx.Timeout, key: str | None = None) -> dict[str, Any]:
    """Build the options of an HTTP client, with asyncio or without, of the service at `url`.

    key: an API key; by default GRAFT_API_KEY.
    """
    key = key or os.environ.get("GRAFT_API_KEY", "").strip()
    return {
        "base_url": url,
        "timeout": timeout,
        "headers": {"Authorization": f"Bearer {key}"} if key else None,
        "mounts": dict.fromkeys(LOOPBACK),  # directly, even if the environment names a proxy
    }
