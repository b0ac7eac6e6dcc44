"""Child processes: all that needs torch or opens a stranger's file runs in one, so that no fault of it is ours.

They are forked from a server that has the libraries loaded, so one starts in milliseconds. A child tells its
supervisor what happens in lines of JSON, and dies with it.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import math
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing import forkserver
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from models.runtime import context
from service import disk_full
from workers import entrypoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from pydantic import BaseModel

log = logging.getLogger(__name__)

PRELOADED = [f"workers.entrypoints.{module.name}" for module in iter_modules(entrypoints.__path__)]
"""What the fork server imports; torch and timm come with it. Each has `work(order) -> Iterator[event]`."""

BATCH_SECONDS = 0.2
"""Events are handed on together when they come faster than this: each hand-over is a transaction."""

TUNING = {
    # How long OpenMP's threads spin for their next piece of work, some microseconds. By its default of milliseconds,
    # two processes on the same cores (measured: 2 cores, steps of a linear head) slow each other down 4 to 14 times.
    "GOMP_SPINCOUNT": "1000",
    # Freed memory stays with the process for its next tensor. By its defaults glibc gives each large one back, and the
    # kernel clears all pages anew (measured: 2 cores, mobilenetv2_100, 76 to 96 against 212 images/s).
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
}
"""What libraries read from the environment when a process starts."""

_context = multiprocessing.get_context("forkserver")


class ChildDied(Exception):
    """A child ended before its work did. `cause` names how."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def warm_up() -> None:
    """Start the fork server now; it loads the libraries while the worker looks for work."""
    for name, value in TUNING.items():
        os.environ.setdefault(name, value)
    _context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


class Child:
    """One running child. Leaving the `with` block kills it if it is still there."""

    def __init__(self, module: str, order: BaseModel, stall_seconds: float = math.inf) -> None:
        """Start `module.work(order)`; the module is imported in the child alone.

        It counts as stalled when it has shown no sign of life for `stall_seconds`.
        """
        self._stall_seconds = stall_seconds
        self._heard = time.monotonic()
        self._receiver, sender = _context.Pipe(duplex=False)
        self._next_batch = 0.0
        self._has_spoken = False
        self._process = _context.Process(
            target=_run, args=(sender, module, order.model_dump_json(), type(order)), daemon=True
        )
        self._process.start()
        sender.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._receiver.close()

    def stop(self) -> None:
        """Have it come to its end with what it has reached; before it has said anything, and again, no change."""
        self._signal(STOP)

    def leave(self) -> None:
        """Have it secure what it has done, and end; before it has said anything, no change."""
        self._signal(DRAIN)

    def batches(self) -> Iterator[list[bytes]]:
        """The events as JSON, the first at once, then in batches every BATCH_SECONDS; empty ones when there is no news.

        Ends when the work is done; raises ChildDied when the child ends before.
        """
        while True:
            lines, open_ = self._receive()
            yield lines
            if not open_:
                break
        self._process.join()
        if self._process.exitcode != 0:
            raise ChildDied(*_cause(self._process.exitcode))

    def _signal(self, signum: signal.Signals) -> None:
        if self._has_spoken:  # else it may not listen yet, and die of the signal
            assert self._process.pid is not None
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, signum)

    def _receive(self) -> tuple[list[bytes], bool]:
        lines: list[bytes] = []
        try:
            if not self._receiver.poll(BATCH_SECONDS):
                self._die_if_stalled()
                return lines, True
            while self._receiver.poll(max(0.0, self._next_batch - time.monotonic())):
                line = self._receiver.recv_bytes()
                self._heard, self._has_spoken = time.monotonic(), True
                if line != ALIVE:
                    lines.append(line)
        except EOFError:
            return lines, False
        self._next_batch = time.monotonic() + BATCH_SECONDS
        return lines, True

    def _die_if_stalled(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self._stall_seconds:
            raise ChildDied("stalled", f"The process got nothing done for {silent:.0f} seconds, and was ended.")


def _cause(exit_code: int | None) -> tuple[str, str]:
    assert exit_code is not None
    if exit_code in CAUSES:
        return CAUSES[exit_code]
    if exit_code == -signal.SIGKILL:
        return "killed_by_signal", "The process was killed by SIGKILL, most often because memory was short."
    if exit_code < 0:
        return "killed_by_signal", f"The process was killed by {signal.Signals(-exit_code).name}."
    return "internal_error", "The process ended with an error of Graft's own, which the worker's log shows."


STOP, DRAIN = signal.SIGUSR1, signal.SIGUSR2
ALIVE = b""
"""What a child says that has nothing to say, but gets on."""

is_stopped = threading.Event()
"""In a child, that it shall come to its end."""
is_leaving = threading.Event()
"""In a child, that it shall secure what it has done, and end."""

OUT_OF_MEMORY, GPU_ERROR, DISK_FULL = 12, 13, 14
CAUSES = {
    OUT_OF_MEMORY: ("out_of_memory", "The process ran out of memory."),
    GPU_ERROR: ("gpu_error", "The GPU reported an error, which the worker's log shows."),
    DISK_FULL: ("disk_full", "There was no room on a disk that the process wrote to."),
}
"""Exit statuses of children whose end has a name."""


def _run(sender: Connection, module: str, order: str, kind: type[BaseModel]) -> None:
    die_with_parent(signal.SIGKILL)  # the fork server
    threading.Thread(target=_die_with_reader, args=(sender,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(STOP, lambda *_: is_stopped.set())
    signal.signal(DRAIN, lambda *_: is_leaving.set())
    context.listen(lambda: sender.send_bytes(ALIVE))
    try:
        for event in importlib.import_module(module).work(kind.model_validate_json(order)):
            sender.send_bytes(event.model_dump_json().encode())
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        # Without interpreter shutdown: libraries' threads may hang in it.
        os._exit(_status(error))


def _status(error: Exception) -> int:
    from models.runtime.devices import is_gpu_error, is_out_of_memory  # torch: the worker itself has none

    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if is_gpu_error(error):
        return GPU_ERROR
    return DISK_FULL if disk_full.is_disk_full(error) else 1


def _die_with_reader(sender: Connection) -> None:
    """The supervisor is gone when nobody reads any more; the fork server would live on for our sake."""
    poller = select.poll()
    poller.register(sender.fileno(), 0)  # a broken pipe is always told
    poller.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent(signum: signal.Signals) -> None:
    """Have the kernel send this process `signum` when its parent ends, however it ends. Linux only."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signum)
