"""Child processes run all code that needs torch or opens an uploaded file, so that a crash does not end the worker.

They are forked from a server that has the libraries loaded, so one starts in milliseconds. A child sends its events to
its supervisor as lines of JSON, and dies with it.
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
from multiprocessing import forkserver, resource_tracker
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from models.runtime.gpu_error import GpuError
from models.runtime.supervisor_callbacks import Context, Heartbeat
from models.runtime.tuning import TUNING
from service import disk_full
from service.storage import StorageUnavailable
from workers import entrypoints, memory_limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from pydantic import BaseModel

log = logging.getLogger(__name__)

PRELOADED = [
    *(f"workers.entrypoints.{module.name}" for module in iter_modules(entrypoints.__path__)),
    "models.pipeline.spec",
]
"""Modules that the fork server imports, and torch with them.

Each entry point has `work(order, context) -> Iterator[event]`. The order to train is of a class that the entry point
itself needs for its types alone; pydantic takes 0.4 s to build the catalog's (measured: 2 cores).
"""

BATCH_SECONDS = 0.2
"""Events that come faster than this are read as one batch: each batch is a transaction."""
BATCH_EVENTS = 1000
"""Most events in a batch, and BATCH_BYTES most bytes after which no more are added, however fast they come."""
BATCH_BYTES = 8 << 20

_context = multiprocessing.get_context("forkserver")


class ChildDied(Exception):
    """A child process ended before its work; `cause` is a name that stays the same between releases."""

    def __init__(self, cause: str, message: str, *, is_own_fault: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.is_own_fault = is_own_fault
        """Whether its own work ended it, and not something outside: another try at the same would end so too."""


def start_fork_server() -> None:
    """Start the fork server early, so that it loads the libraries while the worker looks for work."""
    for name, value in TUNING.items():
        os.environ.setdefault(name, value)
    _context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which unmasks SIGINT
    # The server inherits the mask: Ctrl-C, which reaches it too, would end its imports with a traceback.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


class Child:
    """One child process. Leaving the `with` block kills it if it still runs."""

    def __init__(
        self,
        module: str,
        order: BaseModel,
        stall_seconds: float = math.inf,
        memory_bytes: int | None = None,
        *,
        may_use_gpu: bool = False,
    ) -> None:
        """Start `module.work(order, context)`; the module is imported in the child alone.

        The child counts as stalled when it has sent neither event nor heartbeat for `stall_seconds`. It may take
        `memory_bytes`, by its own limit, or as far as the supervisor sees if it may use a GPU.
        """
        self._stall_seconds, self._memory_bytes = stall_seconds, memory_bytes
        self._received_at = time.monotonic()
        self._receiver, sender = _context.Pipe(duplex=False)
        self._next_batch = 0.0
        self._has_sent = False
        self._process = _context.Process(
            target=_run,
            args=(sender, module, order.model_dump_json(), type(order), None if may_use_gpu else memory_bytes),
            daemon=True,
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
        """Ask it to end training and keep the best epoch; ignored before its first event, and when repeated."""
        self._signal(STOP)

    def drain(self) -> None:
        """Ask it to save its progress and exit; ignored before its first event."""
        self._signal(DRAIN)

    def read_batches(self) -> Iterator[list[bytes]]:
        """Read events as lines of JSON: the first at once, then a batch every BATCH_SECONDS, empty if there are none.

        Ends when the child has exited well; raises ChildDied when it crashes or stalls.
        """
        while True:
            self._check_memory()
            lines, open_ = self._receive()
            yield lines
            if not open_:
                break
        self._process.join()
        if self._process.exitcode == OUT_OF_MEMORY and self._memory_bytes is not None:
            raise _build_out_of_memory(self._memory_bytes)
        if self._process.exitcode != 0:
            raise _explain_exit(self._process.exitcode)

    def _signal(self, signum: signal.Signals) -> None:
        if self._has_sent:  # else its handlers may not be set yet, and the signal would kill it
            assert self._process.pid is not None
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, signum)

    def _receive(self) -> tuple[list[bytes], bool]:
        lines: list[bytes] = []
        size = 0
        try:
            if not self._receiver.poll(BATCH_SECONDS):
                self._check_stall()
                return lines, True
            while len(lines) < BATCH_EVENTS and size < BATCH_BYTES and self._receiver.poll(self._until_next_batch()):
                line = self._receiver.recv_bytes()
                self._received_at, self._has_sent = time.monotonic(), True
                if line != HEARTBEAT:
                    lines.append(line)
                    size += len(line)
        except EOFError:
            return lines, False
        self._next_batch = time.monotonic() + BATCH_SECONDS
        return lines, True

    def _until_next_batch(self) -> float:
        return max(0.0, self._next_batch - time.monotonic())

    def _check_memory(self) -> None:
        assert self._process.pid is not None
        resident = memory_limit.read_resident_bytes(self._process.pid)
        if self._memory_bytes is not None and resident > self._memory_bytes:
            raise _build_out_of_memory(self._memory_bytes)

    def _check_stall(self) -> None:
        idle = time.monotonic() - self._received_at
        if idle > self._stall_seconds:
            raise ChildDied("stalled", f"The process made no progress for {idle:.0f} seconds and was killed.")


def _build_out_of_memory(most: int) -> ChildDied:
    message = (
        f"The process needed more memory than it may take, {most / 2**30:.1f} GiB (GRAFT_MEMORY_BYTES). Smaller "
        "images, smaller batches, fewer classes or a smaller backbone need less."
    )
    return ChildDied("out_of_memory", message, is_own_fault=True)


def _explain_exit(exit_code: int | None) -> ChildDied:
    assert exit_code is not None
    if exit_code in CAUSES:
        return ChildDied(*CAUSES[exit_code], is_own_fault=exit_code in (OUT_OF_MEMORY, -signal.SIGXCPU))
    if exit_code == -signal.SIGKILL:
        message = "The process was killed by SIGKILL, most often because the machine ran out of memory."
        return ChildDied("killed_by_signal", message)
    if exit_code == SERVER_DIED:
        message = "The server that starts processes was killed, most often because the machine ran out of memory."
        return ChildDied("killed_by_signal", message)
    if exit_code < 0:
        message = f"The process was killed by {signal.Signals(-exit_code).name}."
        return ChildDied("killed_by_signal", message, is_own_fault=True)
    message = "The process met an internal error; the worker's log has the details."
    return ChildDied("internal_error", message, is_own_fault=True)


STOP, DRAIN = signal.SIGUSR1, signal.SIGUSR2
HEARTBEAT = b""
SERVER_DIED = 255
"""Exit code that multiprocessing gives a process whose fork server died, and with it the real one."""
"""Sent by a child that makes progress but has no event to send."""

OUT_OF_MEMORY, GPU_ERROR, DISK_FULL, STORAGE_UNAVAILABLE = 12, 13, 14, 15
CAUSES = {
    -signal.SIGXCPU: ("cpu_time_exceeded", "The process used all processor time that it may take."),
    OUT_OF_MEMORY: ("out_of_memory", "The process ran out of memory."),
    GPU_ERROR: ("gpu_error", "The GPU reported an error; the worker's log has the details."),
    DISK_FULL: ("disk_full", "A disk that the process wrote to is full."),
    STORAGE_UNAVAILABLE: ("storage_unavailable", "The storage does not answer."),
}
"""Causes and messages of exit statuses; that of a signal is its negative number."""


def _run(sender: Connection, module: str, order: str, kind: type[BaseModel], memory_bytes: int | None) -> None:
    die_with_parent(signal.SIGKILL)  # the fork server
    threading.Thread(target=_exit_with_reader, args=(sender,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A set, since a handler that sets an Event could interrupt another that holds the event's lock.
    received: set[int] = set()
    for signum in (STOP, DRAIN):
        signal.signal(signum, lambda signum, _: received.add(signum))
    _avoid_semaphores()
    if memory_bytes is not None:
        memory_limit.limit_own_memory(memory_bytes)
    context = Context(
        Heartbeat(lambda: sender.send_bytes(HEARTBEAT)), lambda: STOP in received, lambda: DRAIN in received
    )
    try:
        for event in importlib.import_module(module).work(kind.model_validate_json(order), context):
            sender.send_bytes(event.model_dump_json().encode())
    except Exception as error:
        memory_limit.lift_own_limit()
        traceback.print_exc()
        sys.stderr.flush()
        # Without interpreter shutdown, in which threads of libraries may hang.
        os._exit(_status(error))


def _avoid_semaphores() -> None:
    """Give tqdm, whose bars torch.fx makes, a lock of threads: its own is a semaphore that a killed process leaks."""
    from tqdm import tqdm  # late: the worker itself needs none

    tqdm.set_lock(threading.RLock())


def _status(error: Exception) -> int:
    # Threads need memory for their stacks; Python has no class of error for one that gets none.
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return OUT_OF_MEMORY
    if isinstance(error, GpuError):
        return GPU_ERROR
    if isinstance(error, StorageUnavailable):
        return STORAGE_UNAVAILABLE
    return DISK_FULL if disk_full.is_disk_full(error) else 1


def _exit_with_reader(sender: Connection) -> None:
    """Kill this process when its supervisor has ended: the parent, the fork server, may outlive the supervisor."""
    poller = select.poll()
    poller.register(sender.fileno(), 0)  # a broken pipe is reported whatever the mask
    poller.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent(signum: signal.Signals) -> None:
    """Have the kernel send this process `signum` when its parent ends, however it ends. Linux only."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signum)
