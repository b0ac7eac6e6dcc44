"""Completion of ids and names in shells, from the running service; nothing where it does not answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx

from graft.connection import parse
from graft.errors import GraftError
from graft.http_options import build_options, choose_address

SECONDS = 1.0
MOST = 50
"""Values that are offered."""


def complete_jobs(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a job's id, the newest first, with its state."""
    return _complete(
        incomplete, "/v1/jobs", {}, lambda job: (job["id"], f"{job['status']}, {job['name'] or job['backbone']}")
    )


def complete_backbones(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a backbone's name."""
    return _complete(
        incomplete,
        "/v1/backbones",
        {"q": incomplete},
        lambda found: (found["id"], found["architecture"] or found["name"]),
    )


def complete_models(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a model's name."""
    return _complete(incomplete, "/v1/models", {}, lambda model: (model["name"], model["checkpoint"]))


def _complete(
    incomplete: str, address: str, query: dict[str, Any], describe: Callable[[dict[str, Any]], tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """List what the service has; another program may answer in its place, of whatever form."""
    try:
        with httpx.Client(**build_options(choose_address(), SECONDS)) as http:
            rows = parse(http.get(address, params={"limit": MOST, **query}))["data"]
        found = [describe(row) for row in rows]
    except (httpx.HTTPError, httpx.InvalidURL, GraftError, ValueError, LookupError, TypeError):
        return
    yield from (one for one in found if one[0].startswith(incomplete))
