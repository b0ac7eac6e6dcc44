"""Hosts for workers: Linux network namespaces with addresses and names of their own, on a bridge to this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOOPBACK = "127.0.0.1"
BRIDGE = f"graft{os.getpid() % 100_000}"
"""Named after this process: several may run side by side."""
NETWORK = f"10.{128 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
BRIDGE_ADDRESS = f"{NETWORK}.1"
"""This machine's address on the bridge."""


@dataclass(frozen=True)
class Host:
    """A place to run workers: a network namespace, or this machine itself."""

    name: str
    prefix: Sequence[str] = ()
    """The start of every command line that runs there."""
    server_address: str = LOOPBACK
    """The address by which it reaches servers on this machine."""

    @property
    def is_namespace(self) -> bool:
        """True if it has a network of its own."""
        return self.server_address != LOOPBACK


def can_make_namespaces() -> bool:
    """Try whether this process may make network namespaces."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", f"{BRIDGE}-0"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", f"{BRIDGE}-0"], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def make_hosts(names: Sequence[str]) -> Iterator[list[Host]]:
    """Make a host for each name, as a namespace where possible; remove them afterwards."""
    if not can_make_namespaces():
        yield [Host(name) for name in names]
        return
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield [_make_namespace(name, number) for number, name in enumerate(names, start=1)]
    finally:
        for number in range(1, len(names) + 1):
            subprocess.run(["ip", "netns", "delete", f"{BRIDGE}-{number}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def _make_namespace(name: str, number: int) -> Host:
    space, outer, inner = f"{BRIDGE}-{number}", f"{BRIDGE}v{number}", "eth0"
    _ip("netns", "add", space)
    _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
    _ip("link", "set", outer, "master", BRIDGE, "up")
    _ip("-n", space, "address", "add", f"{NETWORK}.{number + 1}/24", "dev", inner)
    _ip("-n", space, "link", "set", inner, "up")
    _ip("-n", space, "link", "set", "lo", "up")
    set_hostname = ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
    return Host(name, ("ip", "netns", "exec", space, *set_hostname), BRIDGE_ADDRESS)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
