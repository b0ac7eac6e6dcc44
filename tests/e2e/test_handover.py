"""Drain a worker: it hands its job over with a snapshot of the step that it has reached, whole networks included."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from faults.workload import digest_checkpoint
from graft.client import Client
from service.database import Database
from service.tables import Snapshot
from tests.support import deployments
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

STEPS = 42
"""Steps of an epoch."""
RECIPE = {"cut": "none", "optimizer": "adam", "batch_size": 2, "epochs": 2, "early_stopping": None}
PARAMETERS = 11_000_000
"""Of a ResNet-18, at least."""


def wait_for_step(client: Client, job: str, step: int) -> int:
    """Wait until a job has trained a number of steps; gives the number that it reports."""
    end = time.monotonic() + 120
    while True:
        seen = client.job(job)
        if seen["phase"] == "training" and (done := seen["progress"]["step"] or 0) >= step:
            return int(done)
        assert time.monotonic() < end, seen
        time.sleep(0.05)


def stop(worker: subprocess.Popen[bytes]) -> None:
    """Stop a worker as a deploy does; it ends by itself."""
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_a_whole_network_in_mid_epoch_is_handed_over_at_the_step_that_it_has_reached(
    tmp_path: Path, archive: Path
) -> None:
    write_backbone(tmp_path / "backbones" / "resnet18", "resnet18")
    env = deployments.environment(tmp_path, tmp_path / "backbones")
    subprocess.run([deployments.GRAFT, "migrate"], env=env, cwd=deployments.ROOT, check=True)
    with (
        deployments.process(env, "api"),
        deployments.process(env, "worker") as first,
        Client(deployments.ready(env)) as client,
    ):
        dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
        undisturbed = client.wait(client.create_job(dataset, "local/resnet18", RECIPE)["id"])["id"]
        job = client.create_job(dataset, "local/resnet18", RECIPE)["id"]
        reported = wait_for_step(client, job, 4)
        stop(first)
        assert client.job(job)["status"] == "queued"
        database = Database(f"sqlite:///{tmp_path / 'graft.sqlite'}")
        with database.reading() as session:
            (snapshot,) = session.scalars(select(Snapshot))
        database.close()
        assert snapshot.epoch == 0
        assert snapshot.bytes > 4 * 3 * PARAMETERS, "weights, and two moments of each"
        assert [path.stat().st_size for path in (tmp_path / "storage" / "jobs" / job).iterdir()] == [snapshot.bytes]
        with deployments.process(env, "worker"):
            ended = client.wait(job)
        assert ended["status"] == "succeeded", ended["error"]
        events = {event["kind"]: event["data"] for event in client.events(job)}
        assert "crashed" not in events
        assert events["resumed_from_snapshot"]["epoch"] == 0
        assert reported <= events["resumed_from_snapshot"]["step"] < STEPS
        assert digest_checkpoint(client, job, tmp_path) == digest_checkpoint(client, undisturbed, tmp_path)
        assert not (tmp_path / "storage" / "jobs" / job).exists(), "a job that has ended needs no snapshot"
