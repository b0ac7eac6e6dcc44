"""What the child that lists backbones does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from workers.work.inspection import Listed, ListingOrder

if TYPE_CHECKING:
    from collections.abc import Iterator


def work(order: ListingOrder) -> Iterator[Listed]:
    """Say what can be loaded; nothing is downloaded."""
    for listing in backbones.listings(order.backbones):
        yield Listed.of(listing)
