"""Run `graft up` for as long as the demo needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOP_SECONDS = 10.0


class StartFailed(Exception):
    """The service ended before it was ready."""


@contextmanager
def standalone(data: Path, backbones: Path, **more: str) -> Iterator[str]:
    """Run `graft up` with a data folder, a free port and `more` settings; yields its address, and stops it."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")},
        "GRAFT_DATA": str(data),
        "GRAFT_PORT": str(_find_free_port()),
        "GRAFT_BACKBONES": str(backbones),
        **more,
    }
    command = [sys.executable, "-m", "graft", "up"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as service:
        try:
            yield _wait_for_address(service)
        finally:
            _stop(service)


def _stop(service: subprocess.Popen[str]) -> None:
    """Stop the service; kill it and its processes after a while, or if the wait is interrupted."""
    service.send_signal(signal.SIGINT)
    try:
        with suppress(subprocess.TimeoutExpired):
            service.wait(STOP_SECONDS)
    finally:
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGKILL)


def _wait_for_address(service: subprocess.Popen[str]) -> str:
    """Wait for the line with the service's address, which it prints when it is ready."""
    assert service.stdout is not None
    for line in service.stdout:
        for word in line.split():
            if word.startswith("http://"):
                return word
    raise StartFailed(f"The service ended with status {service.wait()}; see its output above.")


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
