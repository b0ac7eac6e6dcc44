"""A disk that is full: requests are refused, no job fails, and all resumes when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from faults.workload import digest_checkpoint
from graft.client import Client
from tests.support import deployments
from tests.support.running_jobs import LONG, start_training

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = bytes(1 << 16)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("disks may not be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room; removing the file that is given makes some."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError:
            return ballast


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="root mounts disks, on Linux")
def test_a_full_disk_fails_no_job_and_all_resumes_when_there_is_room(
    tmp_path: Path, backbones: Path, archive: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        env = deployments.environment(disk / "data", backbones, GRAFT_SNAPSHOT_SECONDS="0.2")
        with deployments.process(env, "graft", "up"), Client(address := deployments.ready(env)) as client:
            dataset = client.wait_for_dataset(client.create_dataset(archive)["id"])["id"]
            expected = client.wait(client.create_job(dataset, "local/small", LONG)["id"])["id"]
            job = start_training(client, dataset, LONG)
            ballast = fill(disk)
            until = time.monotonic() + 6  # two leases
            answers = set()
            while time.monotonic() < until or 507 not in answers:  # SQLite's log has room of its own for a while
                order = {"dataset": dataset, "backbone": "local/small", "recipe": {"epochs": 1}}
                answers.add(httpx.post(f"{address}/v1/jobs", json=order, timeout=60).status_code)
                assert client.job(job)["status"] in ("running", "queued", "succeeded")
                time.sleep(0.5)
            assert answers <= {202, 507}
            refused = httpx.post(f"{address}/v1/datasets?name=more", content=archive.read_bytes(), timeout=60)
            assert (refused.status_code, refused.json()["code"]) == (507, "insufficient_storage")
            ballast.unlink()
            ended = client.wait(job)
            assert ended["status"] == "succeeded", ended["error"]
            assert not [event for event in client.events(job) if event["kind"] == "crashed"]
            assert digest_checkpoint(client, job, tmp_path) == digest_checkpoint(client, expected, tmp_path)
            again = client.create_dataset(archive)
            assert client.wait_for_dataset(again["id"])["status"] == "ready"
