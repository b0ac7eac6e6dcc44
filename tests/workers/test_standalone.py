"""`graft up` where it cannot start: it gives the reason in one line and ends."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import torch

import migrations
from service.startup import CANNOT_START
from tests.support.deployments import ROOT, environment
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path


def up(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`graft up`, which must end by itself."""
    command = [sys.executable, "-m", "graft", "up"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def assert_one_line(ended: subprocess.CompletedProcess[str], *says: str) -> None:
    """Assert that it gave one reason, in one line, and that nothing runs on."""
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    for part in says:
        assert part in line


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    env = environment(tmp_path, tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(env["GRAFT_PORT"])))
        other.listen()
        assert_one_line(up(env), "another program", "set GRAFT_PORT")


def test_a_storage_that_cannot_be_reached(tmp_path: Path) -> None:
    ended = up(environment(tmp_path, tmp_path, GRAFT_STORAGE_URL="nothing://at-all"))
    assert_one_line(ended, "GRAFT_STORAGE_URL", "Protocol not known: nothing")


def test_a_setting_out_of_range_is_named(tmp_path: Path) -> None:
    ended = up(environment(tmp_path, tmp_path, GRAFT_LEASE_SECONDS="-1"))
    assert_one_line(ended, "GRAFT_LEASE_SECONDS=-1: Input should be greater than 0")


def test_a_file_in_place_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_line(up(environment(tmp_path / "file", tmp_path)), "GRAFT_DATA", "Set GRAFT_DATA to a folder")


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    env = environment(tmp_path, tmp_path)
    migrations.upgrade(f"sqlite:///{tmp_path / 'graft.sqlite'}")
    with closing(sqlite3.connect(tmp_path / "graft.sqlite")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert_one_line(up(env), "graft.sqlite has the schema 9999", "newer version")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    ended = up(environment(tmp_path, tmp_path, GRAFT_DEVICE="cuda"))
    assert_one_line(ended, "GRAFT_DEVICE=cuda: it cannot be used here", "auto or cpu")


@pytest.mark.parametrize("part", ["api", "worker", "predictor", "sweep", "migrate"])
def test_a_part_alone_gives_its_reason_likewise(tmp_path: Path, part: str) -> None:
    env = environment(tmp_path, tmp_path, GRAFT_DATABASE_URL=f"postgres://graft:secret@127.0.0.1:{free_port()}/x")
    ended = subprocess.run(
        [sys.executable, "-m", "graft", part],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == CANNOT_START
    (line,) = ended.stderr.splitlines()
    assert "refused" in line
    assert "GRAFT_DATABASE_URL" in line
    assert "secret" not in line


@pytest.mark.extended
@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_it_is_ready_on_other_addresses_of_this_machine_in_a_folder_with_spaces(tmp_path: Path, host: str) -> None:
    env = environment(tmp_path / "my data", tmp_path, GRAFT_HOST=host)
    with subprocess.Popen(
        [sys.executable, "-m", "graft", "up"], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        ready = running.stdout.readline()
        running.terminate()
    host = f"[{host}]" if ":" in host else host
    assert ready == f"Graft is ready at http://{host}:{env['GRAFT_PORT']}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["my data"]
