"""Work of children in tests: sends some events, and then ends as its order says."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel
from tqdm import tqdm

from service.storage import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.runtime.supervisor_callbacks import Context


class Order(BaseModel):
    """An order to a child: the number of events to send, and the way to end."""

    do: str
    times: int = 1


class Count(BaseModel):
    """An event: its number, and the process that sent it."""

    number: int
    pid: int


def work(order: Order, context: Context) -> Iterator[Count]:
    """Send the ordered number of events, then end as ordered."""
    if order.do == "progress bar":
        tqdm(total=1, disable=True)
    for number in range(order.times):
        yield Count(number=number, pid=os.getpid())
    if order.do == "drain":
        while not context.snapshot_requested():
            time.sleep(0.01)
        yield Count(number=order.times, pid=os.getpid())
        return
    if order.do == "toil":
        for _ in range(30):
            time.sleep(0.1)
            context.heartbeat()
        return
    ENDINGS[order.do]()


def _raise(error: Exception) -> None:
    raise error


def _allocate() -> None:
    import torch  # late: it takes a second that other endings do not need

    from models.runtime.devices import translate_errors

    with translate_errors():
        torch.empty(1 << 60)


def _fill_memory() -> None:
    from models.runtime.devices import translate_errors

    blocks = []
    with translate_errors():
        while True:
            blocks.append(bytearray(b"x") * (64 << 20))
            time.sleep(0.05)


def _start_threads() -> None:
    import threading

    while True:
        threading.Thread(target=lambda: time.sleep(600), daemon=True).start()


def _break_gpu() -> None:
    import torch

    from models.runtime.devices import translate_errors

    with translate_errors():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")


ENDINGS: dict[str, Callable[[], object]] = {
    "end": lambda: None,
    "raise": lambda: _raise(ValueError("a fault of ours")),
    "abort": os.abort,
    "memory": lambda: _raise(MemoryError()),
    "allocate": _allocate,
    "fill memory": _fill_memory,
    "start threads": _start_threads,
    "gpu": _break_gpu,
    "no storage": lambda: _raise(StorageUnavailable("The storage does not answer.")),
    "full": lambda: _raise(OSError(errno.ENOSPC, "No space left on device")),
    "progress bar": lambda: time.sleep(600),
    "sleep": lambda: time.sleep(600),
}
