"""List the backbones that this worker can load, in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import backbones
from workers.work.inspection import ListedBackbone, ListingOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.backbones.backbone import BackboneSummary
    from models.runtime.supervisor_callbacks import Context


def work(order: ListingOrder, context: Context) -> Iterator[ListedBackbone]:
    """List the backbones; downloads nothing."""
    for summary in backbones.list_backbones(order.backbones):
        yield describe(summary)


def describe(summary: BackboneSummary) -> ListedBackbone:
    """Describe a backbone by the columns of its row."""
    return ListedBackbone(
        id=summary.name,
        source=summary.source,
        architecture=summary.architecture,
        parameters=summary.parameters,
        input_size=summary.input_size,
        licence=summary.licence,
        accuracy=summary.accuracy,
        multiply_adds=summary.multiply_adds,
    )
