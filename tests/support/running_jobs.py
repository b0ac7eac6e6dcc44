"""Jobs of running services that are long enough to be interrupted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graft.client import Client

LONG = {"epochs": 300, "early_stopping": None}
"""A recipe that takes some seconds."""


def start_training(client: Client, dataset: str, recipe: dict[str, Any]) -> str:
    """Create a job and wait until it has trained for an epoch; gives its id."""
    job: str = client.create_job(dataset, "local/small", recipe)["id"]
    end = time.monotonic() + 60
    while not client.metrics(job):
        assert time.monotonic() < end, client.job(job)
        time.sleep(0.02)
    return job
