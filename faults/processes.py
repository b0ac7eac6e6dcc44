"""Find processes of this machine by parent or by environment, and signal them (reads /proc)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal


def find_descendants(pid: int) -> dict[int, str]:
    """Find all processes below `pid`, with their command lines."""
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


def find_fork_servers(pid: int) -> list[int]:
    """Find the fork servers below `pid`; the children that they fork have the same command line."""
    return [child for child, command in find_descendants(pid).items() if "forkserver" in command]


def find_children_of_fork_servers(pid: int) -> set[int]:
    """Find the processes that train, validate or inspect for the worker `pid`: its fork server has forked them."""
    return {child for server in find_fork_servers(pid) for child in find_descendants(server)}


def send_signal(pids: set[int], signum: signal.Signals) -> bool:
    """Signal those of the processes that still exist; true if there were any processes to signal."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
    return bool(pids)


def find_by_environment(mark: str) -> dict[int, str]:
    """Find processes with this text in their environment, with their command lines; zombies have none."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if mark in (folder / "environ").read_text():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found
