"""The work: a stream of small real jobs, and what each would deliver if nothing ever happened."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from graft.errors import GraftError
from service.tables import Job
from tests.support.images import coloured_classes, write_zip

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from faults.deployment import Deployment
    from graft.client import Client

Result = TypeVar("Result")

BACKBONE = "local/rendered_shapes"
LONG: dict[str, Any] = {"early_stopping": None, "augmentations": ["horizontal_flip"], "cache": {"views": 2}}
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {**LONG, "epochs": 600},
    "mlp": {
        **LONG,
        "epochs": 300,
        "head": {"kind": "mlp", "hidden": [32], "dropout": 0.3, "normalization": "batch_norm"},
        "optimizer": "nadam",
        "schedule": "cosine",
    },
    "averaged": {**LONG, "epochs": 400, "averaging": {"decay": 0.99}, "augmentations": ["horizontal_flip", "mixup"]},
    "unfrozen": {**LONG, "epochs": 20, "cut": "top", "gradient_clipping": "by_norm"},
    "searched": {**LONG, "epochs": 200, "search": {"trials": 8}},
}
TO_BE_CANCELLED = {"fate": "cancel"}
"""Metadata of jobs that somebody cancels."""
PATIENCE_SECONDS = 120.0


class Workload:
    """Jobs of all kinds on one dataset."""

    def __init__(self, deployment: Deployment, client: Client, random: random.Random, folder: Path) -> None:
        self.deployment, self.client, self.random, self.folder = deployment, client, random, folder
        self.archive = write_zip(folder / "colours.zip", coloured_classes(3, 40))
        self.expected: dict[str, str] = {}
        """The digest of what each kind delivers."""
        self.dataset = ""

    def prepare(self) -> None:
        """The dataset, and one undisturbed job of each kind."""
        self.dataset = self.client.wait_for_dataset(self.client.create_dataset(self.archive)["id"])["id"]
        for kind in RECIPES:
            ended = self.client.wait(self.submit(kind))
            assert ended["status"] == "succeeded", ended["error"]
            self.expected[kind] = delivered(self.client, ended["id"], self.folder)

    def submit(self, kind: str | None = None, **more: Any) -> str:
        """One more job, of any kind."""
        name = kind or self.random.choice(list(RECIPES))
        made = steadily(lambda: self.client.create_job(self.dataset, BACKBONE, RECIPES[name], name=name, **more))
        job: str = made["id"]
        return job

    def keep(self, count: int) -> None:
        """Have so many jobs that have not ended."""
        for _ in range(count - len(self.unfinished())):
            self.submit()

    def unfinished(self) -> dict[str, tuple[str, str | None]]:
        """Status and worker of the jobs that have not ended."""
        columns = select(Job.id, Job.status, Job.worker).where(Job.finished_at.is_(None))

        def found() -> dict[str, tuple[str, str | None]]:
            with self.deployment.database.reading() as session:
                return {job: (status, worker) for job, status, worker in session.execute(columns)}

        return steadily(found)

    def finish(self, until: float) -> None:
        """Wait for all jobs, until a time of time.monotonic()."""
        while (left := self.unfinished()) and time.monotonic() < until:
            for job, (status, _) in left.items():
                if status == "paused":
                    steadily(lambda job=job: self.client.resume(job))  # type: ignore[misc]
            time.sleep(0.5)


def steadily(act: Callable[[], Result]) -> Result:
    """Do it, again as long as something that it needs is away."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except Exception as error:
            if not is_away(error) or time.monotonic() > until:
                raise
            time.sleep(0.2)


def is_away(error: Exception) -> bool:
    """Whether the same may work a little later."""
    return isinstance(error, httpx.TransportError | DBAPIError) or (
        isinstance(error, GraftError) and error.status >= 500
    )


def delivered(client: Client, job: str, folder: Path) -> str:
    """The digest of what a job delivers, but for the job's own name in it."""
    (checkpoint,) = client.checkpoints(job)
    path = client.download(checkpoint["id"], folder / f"{job}.safetensors")
    content = path.read_bytes()
    path.unlink()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    assert header["__metadata__"].pop("job") == job
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + content[end:]).hexdigest()
