"""Work for children in tests: does as it is told."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel

from models.runtime import context
from workers.child_process import is_leaving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Order(BaseModel):
    """What to do."""

    do: str
    times: int = 1


class Count(BaseModel):
    """An event."""

    number: int
    pid: int


def work(order: Order) -> Iterator[Count]:
    """Say something so many times, then end as told."""
    for number in range(order.times):
        yield Count(number=number, pid=os.getpid())
    if order.do == "leave":
        is_leaving.wait()
        yield Count(number=order.times, pid=os.getpid())
        return
    DEEDS[order.do]()


def _raise(error: Exception) -> None:
    raise error


def _toil() -> None:
    for _ in range(30):
        time.sleep(0.1)
        context.beat()


def _allocate() -> None:
    import torch  # late: a second that other deeds do not need

    torch.empty(1 << 60)


def _break_gpu() -> None:
    import torch

    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


DEEDS: dict[str, Callable[[], object]] = {
    "end": lambda: None,
    "raise": lambda: _raise(ValueError("a fault of ours")),
    "abort": os.abort,
    "memory": lambda: _raise(MemoryError()),
    "allocate": _allocate,
    "gpu": _break_gpu,
    "full": lambda: _raise(OSError(errno.ENOSPC, "No space left on device")),
    "sleep": lambda: time.sleep(600),
    "toil": _toil,
}
