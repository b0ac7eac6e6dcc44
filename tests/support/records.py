"""JSON of the API's objects, as the service sends them."""

from __future__ import annotations

from typing import Any

from graft.results.jobs import Job, Progress


def make_job(**fields: Any) -> dict[str, Any]:
    """Make the JSON of a job: every field, null but for what is given and what never is."""
    never_null = {
        "id": "job_1",
        "status": "running",
        "dataset": "ds_1",
        "backbone": "local/small",
        "backbones": ["local/small"],
        "recipe": {},
        "metadata": {},
        "progress": {**dict.fromkeys(Progress.__annotations__), "percent": 0.0},
        "seconds": {},
        "checkpoints": [],
        "created_at": "2026-11-28T12:00:00.000Z",
        "attempt": 1,
        "priority": 0,
    }
    return {**dict.fromkeys(Job.__annotations__), **never_null, **fields}
