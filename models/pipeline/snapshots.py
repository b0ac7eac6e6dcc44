"""Securing: what a fine-tuning has done so far is made to outlive its process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.features.sources import CachedFeatures
from models.messages import Noted, ProgressSaved
from models.pipeline import training_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.features.sources import FeatureSource
    from models.pipeline.spec import Assignment
    from models.training.loop import Training


class Snapshotter:
    """Says what is secured, at the pace that the assignment asks for."""

    def __init__(self, assignment: Assignment, began: float) -> None:
        """`began`: when, by time.monotonic(), earlier attempts counted in."""
        self._pace, self._checkpoint, self._began = assignment.pace, assignment.checkpoint, began
        self._number = 0
        self._is_impossible = False

    def cached(self, source: FeatureSource) -> Iterator[ProgressSaved]:
        """What is computed lies in the cache, unless that is full."""
        if self._is_due() and isinstance(source, CachedFeatures) and not source.store_of(0).full:
            yield ProgressSaved()

    def trained(self, training: Training, *, ends_epoch: bool = False) -> Iterator[ProgressSaved | Noted]:
        """Write a snapshot beside the checkpoint."""
        if not self._is_due(ends_epoch=ends_epoch):
            return
        path = self._checkpoint.with_name(f"snapshot-{self._number}.safetensors")
        self._number += 1
        standardization = vars(training.model.standardize)
        elapsed = time.monotonic() - self._began
        state = {"training": training.state(), "standardization": standardization, "elapsed": elapsed}
        try:
            training_state.write(path, state)
        except OSError as error:
            path.unlink(missing_ok=True)
            if not self._is_impossible:
                yield Noted(
                    level="warning",
                    kind="snapshot_failed",
                    message=f"No snapshot can be written ({error.strerror}): free some space in GRAFT_DATA. Training "
                    "goes on; if this attempt dies, the next one goes on from the last snapshot.",
                )
            self._is_impossible = True
        else:
            self._is_impossible = False
            yield ProgressSaved(snapshot=path.name, epoch=training.epochs_done)

    def _is_due(self, *, ends_epoch: bool = False) -> bool:
        return self._pace is not None and self._pace.is_due(ends_epoch=ends_epoch)
