"""Deployments of the whole service: the embedded default, and the production form on PostgreSQL and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.support.servers import free_port
from workers.child_process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
GRAFT = Path(sys.executable).with_name("graft")
READY_SECONDS = 120.0
STOP_SECONDS = 20.0
PARTS = ("api", "worker", "predictor", "sweep")
"""Processes of the production form."""


def environment(data: Path, backbones: Path, **more: str) -> dict[str, str]:
    """Make the environment of a deployment on a free port; the Hub cannot be reached from it."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "HF_"))},
        "GRAFT_DATA": str(data),
        "GRAFT_PORT": str(free_port()),
        "GRAFT_BACKBONES": str(backbones),
        "GRAFT_LEASE_SECONDS": "3",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(data / "hub"),
        **more,
    }


@contextmanager
def process(env: dict[str, str], part: str, folder: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """Run `graft up` or a part of the service in a folder, and stop it afterwards."""
    running = subprocess.Popen(
        [GRAFT, part],
        env=env,
        cwd=folder,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(STOP_SECONDS)
        finally:
            running.kill()
            running.wait()


@contextmanager
def embedded(data: Path, backbones: Path, **more: str) -> Iterator[str]:
    """Run `graft up`; gives its address."""
    env = environment(data, backbones, **more)
    with process(env, "up"):
        yield ready(env)


@contextmanager
def production(
    data: Path,
    backbones: Path,
    database_url: str,
    broker_url: str,
    folder: Path = ROOT,
    **more: str,
) -> Iterator[str]:
    """Run API, worker, predictor and sweep as processes on a database and Redis, in a folder; gives the address."""
    # A slow poll: what is quick was woken by a message.
    more = {"GRAFT_POLL_SECONDS": "5", **more}
    env = environment(data, backbones, GRAFT_DATABASE_URL=database_url, GRAFT_BROKER_URL=broker_url, **more)
    subprocess.run([GRAFT, "migrate"], env=env, cwd=folder, check=True)
    with ExitStack() as stack:
        running = [stack.enter_context(process(env, part, folder)) for part in PARTS]
        yield ready(env)
        assert [part.poll() for part in running] == [None] * len(running), "all are there to the end"


def ready(env: dict[str, str]) -> str:
    """Wait until the service can take work; gives its address."""
    address = f"http://127.0.0.1:{env['GRAFT_PORT']}"
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            if httpx.get(f"{address}/readyz").is_success:
                return address
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, "the service does not become ready"
        time.sleep(0.1)
