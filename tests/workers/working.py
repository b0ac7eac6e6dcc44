"""Work for children in tests: does as it is told."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(BaseModel):
    """What to do."""

    do: str
    times: int = 1


class Said(BaseModel):
    """An event."""

    number: int
    pid: int


def work(order: Order) -> Iterator[Said]:
    """Say something so many times, then end as told."""
    for number in range(order.times):
        yield Said(number=number, pid=os.getpid())
    if order.do == "raise":
        raise ValueError("a fault of ours")
    if order.do == "abort":
        os.abort()
    if order.do == "memory":
        raise MemoryError
    if order.do == "sleep":
        time.sleep(600)
