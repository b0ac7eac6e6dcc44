"""Adaptation of the backbone to the training images, before anything is trained: BatchNorm's statistics (AdaBN)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.messages import Noted
from models.training.batch_norm import adapt_batch_norm, find_norms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.messages import Event
    from models.pipeline.progress import Progress
    from models.pipeline.setup import Prepared


def adapt(ready: Prepared, progress: Progress) -> Iterator[Event]:
    """Estimate the statistics of BatchNorm above the cut on the training images, where there is any."""
    norms, images, source = find_norms(ready.cut_network), ready.train.images, ready.features
    if not norms:
        return
    progress.start_phase(steps=-(-len(images) // source.read_batch_size))
    for count in adapt_batch_norm(ready.cut_network, source, images):
        yield from progress.count_step(count, 0)
    yield Noted(
        kind="batch_norm_adapted",
        message=f"The statistics of {len(norms)} BatchNorm layers above the cut are those of the training images now",
        data={"layers": len(norms), "images": len(images)},
    )
