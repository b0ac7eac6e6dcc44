"""Completion of ids and names in shells, from the running service; nothing where it does not answer at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx

from graft.connection import ADDRESS, LOOPBACK

SECONDS = 1.0
MOST = 50
"""Values that are offered."""


def complete_jobs(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a job's id, the newest first, with its state."""
    for job in _list("/v1/jobs", {"limit": MOST}):
        if job["id"].startswith(incomplete):
            yield job["id"], f"{job['status']}, {job['name'] or job['backbone']}"


def complete_backbones(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a backbone's name."""
    for backbone in _list("/v1/backbones", {"limit": MOST, "q": incomplete}):
        if backbone["id"].startswith(incomplete):
            yield backbone["id"], backbone["architecture"] or backbone["name"]


def complete_models(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a model's name."""
    for model in _list("/v1/models", {"limit": MOST}):
        if model["name"].startswith(incomplete):
            yield model["name"], model["checkpoint"]


def _list(address: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    key = os.environ.get("GRAFT_API_KEY", "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = os.environ.get("GRAFT_URL", ADDRESS)
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=SECONDS, mounts=dict.fromkeys(LOOPBACK)) as http:
            rows: list[dict[str, Any]] = http.get(address, params=query).json()["data"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
        return []
    return rows
