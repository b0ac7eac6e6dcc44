"""`graft up` where it cannot start: it gives the reason in one line and ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.deployments import ROOT, environment

if TYPE_CHECKING:
    from pathlib import Path


def up(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`graft up`, which must end by itself."""
    command = [sys.executable, "-m", "graft", "up"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    env = environment(tmp_path, tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(env["GRAFT_PORT"])))
        other.listen()
        ended = up(env)
    assert ended.returncode == 1
    assert "set GRAFT_HOST and GRAFT_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_part_that_cannot_start_is_not_tried_for_ever(tmp_path: Path) -> None:
    ended = up(environment(tmp_path, tmp_path, GRAFT_STORAGE_URL="nothing://at-all"))
    assert ended.returncode == 1
    assert "Protocol not known: nothing" in ended.stderr
    assert "again; its output is above" in ended.stderr.splitlines()[-1]


def test_a_setting_out_of_range_is_named(tmp_path: Path) -> None:
    ended = up(environment(tmp_path, tmp_path, GRAFT_LEASE_SECONDS="-1"))
    assert ended.returncode == 1
    assert ended.stderr == "GRAFT_LEASE_SECONDS: Input should be greater than 0\n"
