"""Hosts: network namespaces with addresses and names of their own, on a bridge to this machine."""

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

BRIDGE = f"graft{os.getpid() % 100_000}"
"""Of this process alone: several may run side by side."""
NETWORK = f"10.{128 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
HERE = f"{NETWORK}.1"
"""This machine's address on the bridge."""


@dataclass(frozen=True)
class Host:
    """Where a worker runs."""

    name: str
    prefix: Sequence[str] = ()
    """What its commands begin with."""
    sees: str = "127.0.0.1"
    """The address by which it reaches servers on this machine."""


def can_be_made() -> bool:
    """Whether this machine lets us."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", f"{BRIDGE}-0"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", f"{BRIDGE}-0"], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def made(names: Sequence[str]) -> Iterator[list[Host]]:
    """A host for each name, in a namespace of its own where that can be had; removed at last."""
    if not can_be_made():
        yield [Host(name) for name in names]
        return
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{HERE}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield [_made(name, number) for number, name in enumerate(names, start=1)]
    finally:
        for number in range(1, len(names) + 1):
            subprocess.run(["ip", "netns", "delete", f"{BRIDGE}-{number}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def _made(name: str, number: int) -> Host:
    space, outer, inner = f"{BRIDGE}-{number}", f"{BRIDGE}v{number}", "eth0"
    _ip("netns", "add", space)
    _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
    _ip("link", "set", outer, "master", BRIDGE, "up")
    _ip("-n", space, "address", "add", f"{NETWORK}.{number + 1}/24", "dev", inner)
    _ip("-n", space, "link", "set", inner, "up")
    _ip("-n", space, "link", "set", "lo", "up")
    named = ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
    return Host(name, ("ip", "netns", "exec", space, *named), HERE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
