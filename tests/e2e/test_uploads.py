"""Resumable uploads on a running service of each form: used by a dataset and a backbone, and a recipe's dry run."""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from graft.client import Client
from graft.upload_source import list_source
from service.database import Database
from service.storage import Storage
from service.uploads import parts, repository
from tests.support import deployments

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended


def test_an_archive_in_pieces_becomes_the_same_dataset(
    client: Client, dataset: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.resumable.PIECE_BYTES", 10_000)
    monkeypatch.setattr("graft.tar_stream.BLOCK", 5_000)
    made = client.wait_for_dataset(client.create_dataset(archive, in_pieces=True)["id"])
    assert (made["status"], made["digest"]) == ("ready", client.dataset(dataset)["digest"])


def test_a_network_in_pieces_is_imported(client: Client, backbones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.resumable.PIECE_BYTES", 100_000)
    made = client.create_backbone(backbones / "small", "small", in_pieces=True)
    ready = client.wait_for_backbone(made["id"])
    assert (ready["status"], ready["error"]) == ("ready", None)
    packed = b"".join(list_source(backbones / "small").read_blocks())
    assert (ready["bytes"], ready["digest"]) == (len(packed), f"sha256:{hashlib.sha256(packed).hexdigest()}")
    client.delete_backbone(made["id"])


def test_a_dry_run_tells_what_a_job_then_costs(client: Client, dataset: str) -> None:
    client.inspect_backbone("local/small")
    recipe = {"epochs": 1, "cache": {"views": 0}, "cut": {"kind": "top", "stages": 1}}
    costs = client.check_recipe(recipe, "local/small", dataset)["costs"]
    job = client.wait(client.create_job(dataset, "local/small", recipe)["id"])
    assert job["status"] == "succeeded", job["error"]
    prepared = next(event["data"] for event in client.events(job["id"]) if event["kind"] == "prepared")
    assert (costs["cut"], costs["least_cache_bytes"]) == (prepared["cut"], prepared["bytes_per_view"])


def wait_for_answer(client: Client) -> None:
    """Wait until the API answers; it is not ready without a worker."""
    until = time.monotonic() + deployments.READY_SECONDS
    while True:
        with suppress(httpx.TransportError):
            httpx.get(f"{client.url}/healthz").raise_for_status()
            return
        assert time.monotonic() < until
        time.sleep(0.1)


def test_an_upload_survives_the_death_of_the_service(
    tmp_path: Path, sqlite_url: str, backbones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.resumable.PIECE_BYTES", 1 << 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
    data = random.Random(0).randbytes(9 << 20)
    (tmp_path / "photos.zip").write_bytes(data)
    env = deployments.environment(tmp_path / "data", backbones, GRAFT_DATABASE_URL=sqlite_url)
    with ExitStack() as running, Client(f"http://127.0.0.1:{env['GRAFT_PORT']}") as client:
        processes = [running.enter_context(deployments.process(env, "api"))]
        wait_for_answer(client)
        sent = 0

        def kill_at_times(size: int) -> None:
            nonlocal sent
            sent += size
            if sent in (2 << 20, 5 << 20):
                processes[-1].kill()
                processes[-1].wait()
                processes.append(running.enter_context(deployments.process(env, "api")))

        upload = client.upload(tmp_path / "photos.zip", kill_at_times)
    assert len(processes) == 3
    database, storage = Database(sqlite_url), Storage(str(tmp_path / "data/storage"))
    with database.reading() as session:
        parts.write_list(storage, upload, repository.list_parts(session, upload))
    database.close()
    with parts.reading(storage, parts.get_folder(upload)) as file:
        assert file.read() == data
