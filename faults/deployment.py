"""Production deployment: API, sweep and two workers on PostgreSQL and Redis; dead processes are restarted."""

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

from faults.hosts import LOOPBACK, Host, make_hosts
from service.database import Database
from tests.support.servers import PostgreSQL, Redis, free_port, running
from workers.child_process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
BACKBONES = ROOT / "demo" / "backbones"
LEASE_SECONDS = 3.0
STALL_SECONDS = 15.0
CHECK_SECONDS = 0.1
"""Interval of checks for dead processes."""
READY_SECONDS = 120.0
DRAIN_SECONDS = 10.0
STOP_SECONDS = DRAIN_SECONDS + 10.0
DISK_BYTES = 256 << 20
"""Size of the disk that a fault fills."""
STORAGE_FILES = "storage.files"
CLOCK_SECONDS = 3600.0
"""How far the second worker's clock is ahead."""
THIS_MACHINE = Host("")


class Part:
    """A process of the deployment that can be restarted."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self.process = self._start()

    @property
    def pid(self) -> int:
        """Its present process id."""
        return self.process.pid

    def restart_if_dead(self) -> None:
        """Start it again if it has ended, as a supervisor of services does."""
        if self.process.poll() is not None:
            self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
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
    """All parts of a running deployment, and the servers that they need."""

    def __init__(
        self, folder: Path, disk: Path | None, postgresql: PostgreSQL, redis: Redis, hosts: Sequence[Host]
    ) -> None:
        self.folder, self.disk = folder, disk
        self.postgresql, self.redis, self.hosts = postgresql, redis, hosts
        self.mark = f"GRAFT_FAULTS_RUN={ULID()}"
        self.port = free_port()
        self._ending = threading.Event()
        (folder / STORAGE_FILES).mkdir()
        self.bring_storage_back()
        self.database = Database(self._database_url(LOOPBACK))
        subprocess.run([sys.executable, "-m", "graft", "migrate"], env=self._environment(THIS_MACHINE), check=True)
        self.parts = {name: self._start_part(name, *how) for name, how in self._commands().items()}
        self._watch = threading.Thread(target=self._restart_dead_parts, daemon=True)
        self._watch.start()

    @property
    def address(self) -> str:
        """The URL of the API."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def workers(self) -> list[Part]:
        """The parts that are workers."""
        return [part for name, part in self.parts.items() if name.startswith("worker")]

    @property
    def data(self) -> Path:
        """GRAFT_DATA of the parts, on the disk that a fault fills."""
        return (self.disk or self.folder) / "data"

    @property
    def storage(self) -> Path:
        """The folder of the storage: a link, so that it can be exchanged for something else at once."""
        return self.folder / "storage"

    def take_storage_away(self) -> None:
        """Make the storage unavailable: put a file in place of its folder."""
        (self.folder / "new").touch()
        (self.folder / "new").replace(self.storage)

    def bring_storage_back(self) -> None:
        """Make the storage available again, with the files that it had."""
        (self.folder / "new").symlink_to(STORAGE_FILES)
        (self.folder / "new").replace(self.storage)

    def wait_until_ready(self) -> None:
        """Wait until it accepts work."""
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
        """Stop all parts with SIGTERM, and kill those that do not end in time."""
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

    def _restart_dead_parts(self) -> None:
        while not self._ending.wait(CHECK_SECONDS):
            for part in self.parts.values():
                part.restart_if_dead()

    def _commands(self) -> dict[str, tuple[Sequence[str], Host]]:
        return {
            "api": (("graft", "api"), THIS_MACHINE),
            "sweep": (("graft", "sweep"), THIS_MACHINE),
            **{f"worker on {host.name}": (("graft", "worker"), host) for host in self.hosts},
        }

    def _start_part(self, name: str, arguments: Sequence[str], host: Host) -> Part:
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
            "GRAFT_DATABASE_URL": self._database_url(host.server_address),
            "GRAFT_BROKER_URL": self.redis.url(host.server_address),
            "GRAFT_STORAGE_URL": self.storage.as_uri(),
            "GRAFT_LEASE_SECONDS": str(LEASE_SECONDS),
            "GRAFT_STALL_SECONDS": str(STALL_SECONDS),
            "GRAFT_SNAPSHOT_SECONDS": "0.2",
            "GRAFT_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "GRAFT_MAX_CRASHES": "30",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.folder / "hub"),
        }


@contextmanager
def deploy(folder: Path) -> Iterator[Deployment]:
    """Run a deployment with workers on two hosts; stop and remove it afterwards."""
    with make_hosts(["first", "second"]) as hosts:
        addresses = [LOOPBACK, *sorted({host.server_address for host in hosts} - {LOOPBACK})]
        with (
            running(PostgreSQL(addresses)) as postgresql,
            running(Redis(addresses)) as redis,
            _mount_disk(folder) as disk,
        ):
            maintenance = Database(postgresql.url())
            with maintenance.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("CREATE DATABASE graft")
            maintenance.close()
            deployment = Deployment(folder, disk, postgresql, redis, hosts)
            try:
                deployment.wait_until_ready()
                yield deployment
            finally:
                deployment.stop()


@contextmanager
def _mount_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small disk where this process may; None where it may not."""
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
