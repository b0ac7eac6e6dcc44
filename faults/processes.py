"""Processes of this machine: who descends from whom, and who carries a mark."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal


def descendants(pid: int) -> dict[int, str]:
    """The command lines of all processes below `pid`."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {child: commands[child] for child in found - {pid} if commands[child]}


def fork_servers(pid: int) -> list[int]:
    """The fork servers below `pid`; what they have forked looks the same, and hangs below them."""
    return [child for child, command in descendants(pid).items() if "forkserver" in command]


def children_of_fork_servers(pid: int) -> set[int]:
    """What does the work below `pid`: what its fork server has forked."""
    return {child for server in fork_servers(pid) for child in descendants(server)}


def send(pids: set[int], signum: signal.Signals) -> bool:
    """Signal all of them that are still there; says whether there were any."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
    return bool(pids)


def marked(mark: str) -> dict[int, str]:
    """The command lines of processes whose environment has this in it, zombies left out."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if mark in (folder / "environ").read_text():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found
