"""Pushes and retention on the command line, against a running API and a small hub."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import torch
from sqlalchemy import update

from models.runtime.checkpoint_file import write
from service.database import Database
from service.tables import Job
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.exported import add_export
from tests.support.hub_uploads import TOKEN, run_upload_hub
from tests.support.repository import ROOT
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"README.md": b"# Flowers\n", "model.safetensors": bytes(range(256)) * 200}


def test_a_checkpoint_is_pushed_and_older_ones_are_pruned(tmp_path: Path, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    add_job(database)
    write(tmp_path / "a", {"head": torch.ones(3)}, {})
    older, checkpoint = (store_and_publish(database, tmp_path / "a").id for _ in range(2))
    add_export(database, str(tmp_path / "data" / "storage"), checkpoint, FILES)
    with database.writing() as session:
        session.execute(update(Job).values(status="succeeded"))
    database.close()
    address = f"http://127.0.0.1:{(port := free_port())}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "HF_", "MLFLOW_"))}
    environment = kept | {
        "GRAFT_DATA": str(tmp_path / "data"),
        "GRAFT_DATABASE_URL": sqlite_url,
        "GRAFT_PORT": str(port),
        "GRAFT_URL": address,
    }

    def graft(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "graft", *arguments]
        given = environment | more
        return subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, check=False)

    (tmp_path / "hub").mkdir()
    log = tmp_path / "log"
    with run_upload_hub(tmp_path / "hub") as hub, log.open("wb") as output:
        given = environment | {"HF_ENDPOINT": hub.url}
        command = [sys.executable, "-m", "graft", "api"]
        with subprocess.Popen(command, env=given, cwd=ROOT, stdout=output, stderr=output) as api:
            try:
                _wait_for(address)
                push = ("push", checkpoint, "--to", "hub", "--repo", "garden/flowers")
                missing = graft(*push)
                assert (missing.returncode, "HF_TOKEN" in missing.stderr) == (1, True)
                assert "hub or mlflow" in graft("push", checkpoint, "--to", "s3").stderr
                refused = graft(*push, HF_TOKEN="hf_wrong")
                assert (refused.returncode, "Check the token" in refused.stderr) == (1, True)
                pushed = graft(*push, HF_TOKEN=TOKEN)
                assert pushed.returncode == 0, pushed.stderr
                assert pushed.stdout.startswith(f"{hub.url}/garden/flowers/tree/")
                found = {name: (tmp_path / "hub" / "garden" / "flowers" / name).read_bytes() for name in FILES}
                assert found == FILES
                dry = graft("prune", "--keep-newest", "1")
                assert older in dry.stdout
                assert "--yes deletes these 1 checkpoints" in dry.stdout
                assert "Deleted 1 checkpoints" in graft("prune", "--keep-newest", "1", "--yes").stdout
                assert "say what is kept" in graft("prune").stderr
            finally:
                api.terminate()
    assert TOKEN not in log.read_text()


def _wait_for(address: str) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            httpx.get(f"{address}/healthz", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < until, "the API does not start"
            time.sleep(0.1)
        else:
            return
