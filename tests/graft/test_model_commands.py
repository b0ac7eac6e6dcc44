"""Models on the command line, against a running API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import torch

from models.runtime.checkpoint_file import write
from service.database import Database
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.repository import ROOT
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path


def test_names_are_made_listed_and_deleted(tmp_path: Path, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    add_job(database)
    write(tmp_path / "a", {"head": torch.ones(3)}, {})
    checkpoint = store_and_publish(database, tmp_path / "a").id
    database.close()
    address = f"http://127.0.0.1:{(port := free_port())}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
    environment = kept | {
        "GRAFT_DATA": str(tmp_path / "data"),
        "GRAFT_DATABASE_URL": sqlite_url,
        "GRAFT_PORT": str(port),
        "GRAFT_URL": address,
    }

    def graft(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "graft", "models", *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    with subprocess.Popen([sys.executable, "-m", "graft", "api"], env=environment, cwd=ROOT) as api:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"{address}/healthz", trust_env=False).raise_for_status()
                    break
                except httpx.TransportError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
            assert graft("set", "flowers", checkpoint).stdout.strip() == f"flowers is {checkpoint}"
            (listed,) = json.loads(graft("list", "--json").stdout)
            assert (listed["name"], listed["checkpoint"]) == ("flowers", checkpoint)
            assert graft("delete", "flowers").returncode == 0
            moves = json.loads(graft("history", "flowers", "--json").stdout)
            assert [move["checkpoint"] for move in moves] == [checkpoint, None]
            failed = graft("set", "flowers", "ckpt_x")
            assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
            assert "There is no checkpoint ckpt_x" in failed.stderr
        finally:
            api.terminate()
