"""Snapshotter: writes training snapshots when they are due."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from models.features.sources import CachedFeatures
from models.messages import Noted, ProgressSaved
from models.pipeline import state_file
from models.runtime.supervisor_callbacks import never

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from models.features.sources import FeatureSource
    from models.training.loop import Training

LEAST_SECONDS = 1.0
"""Least seconds between two snapshots at the ends of epochs: one takes longer than many an epoch of a head alone."""


def collect_state(training: Training) -> dict[str, Any]:
    """Collect the state of a training that `load_training` loads; its tensors are shared, not copied."""
    return {"training": training.state_dict(), "standardization": vars(training.model.standardize)}


class Pace:
    """Decides when a snapshot is due."""

    def __init__(self, seconds: float | None = math.inf, snapshot_requested: Callable[[], bool] = never) -> None:
        """`seconds`: most between two snapshots; None: none is ever due."""
        self._seconds, self._snapshot_requested = seconds, snapshot_requested
        self._taken = time.monotonic()

    @property
    def is_used(self) -> bool:
        """True if a snapshot can be due."""
        return self._seconds is not None

    def is_due(self, *, ends_epoch: bool = False) -> bool:
        """Check for a due snapshot; true once, then the time starts anew."""
        if self._seconds is None:
            return False
        enough = min(LEAST_SECONDS, self._seconds) if ends_epoch else self._seconds
        if time.monotonic() - self._taken < enough and not self._snapshot_requested():
            return False
        self._taken = time.monotonic()
        return True


class Snapshotter:
    """Writes training snapshots beside a checkpoint when they are due."""

    def __init__(self, checkpoint: Path, pace: Pace, began: float) -> None:
        """`began`: when the job began by time.monotonic(), the time of earlier attempts counted in."""
        self._checkpoint, self._pace, self._began = checkpoint, pace, began
        self.ladder: dict[str, Any] | None = None
        """State of the ladder of candidates that the training is one of."""
        self._number = 0
        self._has_failed = False

    def save_features(self, source: FeatureSource) -> Iterator[ProgressSaved]:
        """Report that computed features are saved: they are in the cache, unless that is full."""
        if self._pace.is_due() and isinstance(source, CachedFeatures) and not source.get_store(0).is_full:
            yield ProgressSaved()

    def save_training(self, training: Training, *, ends_epoch: bool = False) -> Iterator[ProgressSaved | Noted]:
        """Write a snapshot of the training, if one is due."""
        yield from self.save(partial(collect_state, training), training.epochs_done, ends_epoch=ends_epoch)

    def save(
        self, collect: Callable[[], dict[str, Any]], epochs: int, *, ends_epoch: bool = False
    ) -> Iterator[ProgressSaved | Noted]:
        """Write a snapshot of what `collect` collects after this many epochs, if one is due."""
        if self._pace.is_due(ends_epoch=ends_epoch):
            yield from self._write(collect(), epochs)

    def save_ladder(self) -> Iterator[ProgressSaved | Noted]:
        """Write a snapshot of the ladder between two candidates, unless none is ever due."""
        if self._pace.is_used:
            yield from self._write({}, 0)

    def _write(self, state: dict[str, Any], epochs: int) -> Iterator[ProgressSaved | Noted]:
        path = self._checkpoint.with_name(f"snapshot-{self._number}.safetensors")
        self._number += 1
        state = {**state, "elapsed": time.monotonic() - self._began}
        if self.ladder is not None:
            state, epochs = {**state, "ladder": self.ladder}, 0  # its epochs are only recorded at its end
        try:
            state_file.write(path, state)
        except OSError as error:
            path.unlink(missing_ok=True)
            if not self._has_failed:
                yield Noted(
                    level="warning",
                    kind="snapshot_failed",
                    message=f"No snapshot can be written ({error.strerror}): free some space in GRAFT_DATA. Training "
                    "continues; if this attempt fails, the next one resumes from the last snapshot.",
                )
            self._has_failed = True
        else:
            self._has_failed = False
            yield ProgressSaved(snapshot=path.name, epoch=epochs)
