"""Child process that lists the backbones that can be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from workers.work.inspection import ListedBackbone, ListingOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.backbones.backbone import Listing
    from models.runtime.context import Context


def work(order: ListingOrder, context: Context) -> Iterator[ListedBackbone]:
    """List the backbones; downloads nothing."""
    for listing in backbones.listings(order.backbones):
        yield describe(listing)


def describe(listing: Listing) -> ListedBackbone:
    """Describe a backbone by the columns of its row."""
    return ListedBackbone(
        id=listing.name,
        source=listing.source,
        architecture=listing.architecture,
        parameters=listing.parameters,
        input_size=listing.input_size,
        licence=listing.licence,
    )
