"""Workload of small real jobs, with the digest of each one's checkpoint in a run without faults."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from faults.deployment import BACKBONES
from graft.errors import GraftError
from service.tables import Backbone, Job
from tests.support.images import coloured_classes, write_zip

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from faults.deployment import Deployment
    from graft.client import Client

Result = TypeVar("Result")

BACKBONE = "local/rendered_shapes"
LONG: dict[str, Any] = {
    "early_stopping": None,
    "augmentations": ["horizontal_flip"],
    "cache": {"views": 2},
    # "auto" takes the engine that is faster by a measurement, in which a fault may stop the process.
    "engine": "eager",
    "precision": "float32",
}
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
UPLOAD_SHARE = 0.1
"""Share of the faults before which a backbone is uploaded, unless one is being imported."""
TO_BE_CANCELLED = {"fate": "cancel"}
"""Metadata of jobs that a fault cancels."""
PATIENCE_SECONDS = 120.0
RETRY_SECONDS = 0.2


class Workload:
    """Jobs with all recipes on one dataset."""

    def __init__(self, deployment: Deployment, client: Client, random: random.Random, folder: Path) -> None:
        self.deployment, self.client, self.random, self.folder = deployment, client, random, folder
        self.archive = write_zip(folder / "colours.zip", coloured_classes(3, 40))
        self.expected: dict[str, str] = {}
        """The digest of the checkpoint that each recipe gives."""
        self.dataset = ""

    def prepare(self) -> None:
        """Upload the dataset, and run one job of each recipe without faults."""
        self.dataset = self.client.wait_for_dataset(self.client.create_dataset(self.archive)["id"])["id"]
        for name in RECIPES:
            ended = self.client.wait(self.submit(name))
            assert ended["status"] == "succeeded", ended["error"]
            self.expected[name] = digest_checkpoint(self.client, ended["id"], self.folder)

    def submit(self, recipe: str | None = None, **more: Any) -> str:
        """Create a job with this recipe, or a random one; returns its id."""
        name = recipe or self.random.choice(list(RECIPES))
        created = retry(lambda: self.client.create_job(self.dataset, BACKBONE, RECIPES[name], name=name, **more))
        job: str = created["id"]
        return job

    def top_up(self, count: int) -> None:
        """Create jobs until `count` have not ended, and upload a backbone now and then."""
        for _ in range(count - len(self.list_unfinished())):
            self.submit()
        if self.random.random() < UPLOAD_SHARE and not self.list_importing():
            retry(lambda: self.client.create_backbone(BACKBONES / BACKBONE.removeprefix("local/")))

    def list_unfinished(self) -> dict[str, tuple[str, str | None]]:
        """List the jobs that have not ended, with status and worker."""
        columns = select(Job.id, Job.status, Job.worker).where(Job.finished_at.is_(None))

        def read() -> dict[str, tuple[str, str | None]]:
            with self.deployment.database.reading() as session:
                return {job: (status, worker) for job, status, worker in session.execute(columns)}

        return retry(read)

    def list_importing(self) -> list[str]:
        """List the backbones that are being imported."""
        importing = select(Backbone.id).where(Backbone.status == "importing")

        def read() -> list[str]:
            with self.deployment.database.reading() as session:
                return list(session.scalars(importing))

        return retry(read)

    def wait_for_all(self, deadline: float) -> None:
        """Wait until all jobs and imports have ended, or until a time of time.monotonic(); paused jobs are resumed."""
        while ((left := self.list_unfinished()) or self.list_importing()) and time.monotonic() < deadline:
            for job, (status, _) in left.items():
                if status == "paused":
                    retry(lambda job=job: self.client.resume(job))  # type: ignore[misc]
            time.sleep(0.5)


def retry(act: Callable[[], Result]) -> Result:
    """Call again while a server is away, for PATIENCE_SECONDS at most."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except Exception as error:
            if not is_temporary(error) or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


def is_temporary(error: Exception) -> bool:
    """Check whether another try may succeed: a connection failed, or the API answered with 5xx."""
    return isinstance(error, httpx.TransportError | DBAPIError) or (
        isinstance(error, GraftError) and error.status >= 500
    )


def digest_checkpoint(client: Client, job: str, folder: Path) -> str:
    """Download a job's checkpoint; returns its SHA-256 without the job's id, which is in the metadata."""
    (checkpoint,) = client.checkpoints(job)
    path = client.download(checkpoint["id"], folder / f"{job}.safetensors")
    content = path.read_bytes()
    path.unlink()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    assert header["__metadata__"].pop("job") == job
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + content[end:]).hexdigest()
