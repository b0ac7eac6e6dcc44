"""The child process that lists the backbones that this worker can load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from workers.work.inspection import Listed, ListingOrder

if TYPE_CHECKING:
    from collections.abc import Iterator


def work(order: ListingOrder) -> Iterator[Listed]:
    """List the backbones; downloads nothing."""
    for summary in backbones.list_backbones(order.backbones):
        yield Listed.of(summary)
