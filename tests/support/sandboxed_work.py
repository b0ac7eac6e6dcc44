"""Work of children in tests of the sandbox: tries something in it, and tells whether that was possible."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from workers import sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.runtime.supervisor_callbacks import Context


class Order(BaseModel):
    """An order to try something in a sandbox."""

    do: str
    folder: Path
    """The only one that may be written in."""
    readable: Path
    outside: Path
    """A file that may not be reached."""
    cpu_seconds: int = 60


class Tried(BaseModel):
    """The result of a trial, and whether it was possible."""

    was_possible: bool
    result: str
    lacking: list[str]


def work(order: Order, context: Context) -> Iterator[Tried]:
    """Enter the sandbox, and try."""
    lacking = sandbox.enter(
        sandbox.Limits(order.cpu_seconds, 1 << 20),
        work=order.folder,
        writable=[order.folder],
        readable=[order.readable],
    )
    try:
        result = str(TRIALS[order.do](order))
    except OSError as error:
        yield Tried(was_possible=False, result=str(error), lacking=lacking)
        return
    yield Tried(was_possible=True, result=result, lacking=lacking)


def _start_thread(_: Order) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append("ran"))
    thread.start()
    thread.join()
    return found[0]


def _call_socket(_: Order) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.socket(2, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "socket")
    return "a socket"


def _start_shell(_: Order) -> None:
    if os.system("true") != 0:  # which reports no error but a status
        raise PermissionError("no shell")


def _spin(_: Order) -> None:
    while True:
        sum(range(10_000))


def _import_late(_: Order) -> str:
    import colorsys  # of the standard library

    import fsspec.implementations.memory  # of a package

    return f"{colorsys.__name__} {fsspec.implementations.memory.__name__}"


TRIALS: dict[str, Callable[[Order], object]] = {
    "nothing": lambda _: "",
    "connect": lambda _: socket.create_connection(("127.0.0.1", 9)),
    "call socket": _call_socket,
    "unix socket": lambda _: socket.socket(socket.AF_UNIX),
    "read outside": lambda order: order.outside.read_text(),
    "list outside": lambda order: os.listdir(order.outside.parent),  # noqa: PTH208
    "write outside": lambda order: order.outside.write_text("x"),
    "make outside": lambda order: (order.outside.parent / "new").mkdir(),
    "remove outside": lambda order: order.outside.unlink(),
    "truncate outside": lambda order: os.truncate(order.outside, 0),
    "write what may be read": lambda order: order.readable.write_text("x"),
    "read what may be read": lambda order: order.readable.read_text(),
    "link outside": lambda order: os.link(order.outside, order.folder / "link"),
    "write inside": lambda order: (order.folder / "new").write_text("x"),
    "write much": lambda order: (order.folder / "new").write_bytes(bytes(2 << 20)),
    "import": _import_late,
    "start a program": lambda _: subprocess.run([sys.executable, "--version"], check=True),
    "start a shell": _start_shell,
    "fork": lambda _: os.fork(),
    "start a thread": _start_thread,
    "kill another": lambda _: os.kill(os.getppid(), 0),
    "read another's environment": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read another's memory": lambda _: Path(f"/proc/{os.getppid()}/mem").open("rb").close(),
    "read environment": lambda _: dict(os.environ),
    "read initial environment": lambda _: Path("/proc/self/environ").read_bytes(),
    "current folder": lambda _: Path.cwd(),
    "dump core": lambda _: resource.getrlimit(resource.RLIMIT_CORE),
    "spin": _spin,
}
