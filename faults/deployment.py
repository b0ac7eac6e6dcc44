"""A deployment as people run it: API, two workers, sweep, PostgreSQL and Redis; what dies is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from sqlalchemy.engine import make_url
from ulid import ULID

from faults import hosts
from service.database import Database
from tests.support.servers import PostgreSQL, Redis, free_port, running
from workers.child_process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faults.hosts import Host

ROOT = Path(__file__).parents[1]
BACKBONES = ROOT / "demo" / "backbones"
LEASE_SECONDS = 3.0
LOOK_SECONDS = 0.1
READY_SECONDS = 120.0
STOP_SECONDS = 15.0
DISK_BYTES = 256 << 20
CLOCK_SECONDS = 3600.0
"""By how much the second worker's clock is wrong."""


class Part:
    """A process of the deployment."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self.process = self._started()

    @property
    def pid(self) -> int:
        """Its number now."""
        return self.process.pid

    def start_again_if_dead(self) -> None:
        """As whatever runs services does."""
        if self.process.poll() is not None:
            self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, signal.SIGKILL),
            )


class Deployment:
    """All parts, and the servers that they stand on."""

    def __init__(
        self, folder: Path, disk: Path | None, postgresql: PostgreSQL, redis: Redis, on: Sequence[Host]
    ) -> None:
        self.folder, self.disk = folder, disk
        self.postgresql, self.redis, self.hosts = postgresql, redis, on
        self.mark = f"GRAFT_FAULTS_RUN={ULID()}"
        self.port = free_port()
        self._ending = threading.Event()
        self.database = Database(self._database_url("127.0.0.1"))
        subprocess.run([sys.executable, "-m", "graft", "migrate"], env=self._environment(hosts.Host("")), check=True)
        self.parts = {name: self._part(name, *how) for name, how in self._commands().items()}
        self._watch = threading.Thread(target=self._start_again, daemon=True)
        self._watch.start()

    @property
    def address(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def workers(self) -> list[Part]:
        """The parts that are workers."""
        return [part for name, part in self.parts.items() if name.startswith("worker")]

    @property
    def data(self) -> Path:
        """What the parts keep on the disk that may fill up."""
        return (self.disk or self.folder) / "data"

    def wait(self) -> None:
        """Until it takes work."""
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                if httpx.get(f"{self.address}/readyz", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, "the deployment does not become ready"
            time.sleep(0.1)

    def stop(self) -> None:
        """End all parts, as a deploy does."""
        self._ending.set()
        self._watch.join()
        for part in self.parts.values():
            part.process.send_signal(signal.SIGCONT)
            part.process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for part in self.parts.values():
            try:
                part.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
        self.database.close()

    def _start_again(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            for part in self.parts.values():
                part.start_again_if_dead()

    def _commands(self) -> dict[str, tuple[Sequence[str], Host]]:
        here = hosts.Host("")
        return {
            "api": (("graft", "api"), here),
            "sweep": (("graft", "sweep"), here),
            **{f"worker on {host.name}": (("graft", "worker"), host) for host in self.hosts},
        }

    def _part(self, name: str, arguments: Sequence[str], host: Host) -> Part:
        environment = self._environment(host)
        if self.hosts and host == self.hosts[-1]:
            environment["GRAFT_FAULTS_CLOCK"] = str(CLOCK_SECONDS)
            environment["PYTHONPATH"] = os.pathsep.join(
                [str(ROOT / "faults" / "clock"), *filter(None, [environment.get("PYTHONPATH")])]
            )
        command = [*host.prefix, sys.executable, "-m", *arguments]
        return Part(name, command, environment, self.folder / f"{name}.log")

    def _database_url(self, address: str) -> str:
        return make_url(self.postgresql.url(address)).set(database="graft").render_as_string(hide_password=False)

    def _environment(self, host: Host) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "HF_"))}
        name, _, value = self.mark.partition("=")
        return {
            **own,
            name: value,
            "GRAFT_DATA": str(self.data),
            "GRAFT_PORT": str(self.port),
            "GRAFT_BACKBONES": str(BACKBONES),
            "GRAFT_DATABASE_URL": self._database_url(host.sees),
            "GRAFT_BROKER_URL": self.redis.url(host.sees),
            "GRAFT_STORAGE_URL": (self.folder / "storage").as_uri(),
            "GRAFT_LEASE_SECONDS": str(LEASE_SECONDS),
            "GRAFT_SNAPSHOT_SECONDS": "0.2",
            "GRAFT_MAX_CRASHES": "30",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.folder / "hub"),
        }


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """A deployment on two hosts, taken down at last."""
    with hosts.made(["first", "second"]) as on:
        addresses = ["127.0.0.1", *sorted({host.sees for host in on} - {"127.0.0.1"})]
        with running(PostgreSQL(addresses)) as postgresql, running(Redis(addresses)) as redis, _disk(folder) as disk:
            maintenance = Database(postgresql.url())
            with maintenance.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("CREATE DATABASE graft")
            maintenance.close()
            deployment = Deployment(folder, disk, postgresql, redis, on)
            try:
                deployment.wait()
                yield deployment
            finally:
                deployment.stop()


@contextmanager
def _disk(folder: Path) -> Iterator[Path | None]:
    """A disk that can be filled, where one may be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
