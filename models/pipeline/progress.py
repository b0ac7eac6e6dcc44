"""Progress of a fine-tuning in percent, and its expected end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.messages import Progressed

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT_SECONDS = 0.5

READ_COST = 0.002
"""Cost of training a head on a cached row, in rows computed; only the expected end of a job rests on it."""
TRAIN_COST = 3.0
"""Cost of training a layer, in times that it is computed."""


class Progress:
    """Progress of a job, counted in rows that the trunk computes; training on a row counts as a part of one."""

    def __init__(self, to_compute: int, to_train: int, share_above: float = 0.0) -> None:
        """`share_above`: share of the network's work that lies above the cut and is trained, times passes of a step."""
        self._train_cost = READ_COST + TRAIN_COST * share_above
        self._work = to_compute + self._train_cost * to_train
        self._done = self._share = 0.0
        self._began = time.monotonic()
        self._reported = 0.0
        self.start_phase(steps=0)

    @property
    def work(self) -> float:
        """All work that is planned, in rows that the trunk computes."""
        return self._work

    def add_work(self, to_compute: int) -> None:
        """Add rows to compute to those that were planned."""
        self._work += to_compute

    def start_phase(self, *, steps: int, epochs: int | None = None) -> None:
        """Start a phase of `steps` steps."""
        self._step, self._steps = 0, steps
        self._epoch, self._epochs = (None if epochs is None else 0), epochs
        self._images = 0
        self._phase_began = time.monotonic()

    def resume(self, epochs: int, steps: int, trained: int) -> None:
        """Count the steps of the phase that an earlier attempt has done."""
        self._epoch, self._step = epochs, steps
        self._done += self._train_cost * trained

    def count_step(self, images: int, computed: int, trained: int = 0) -> Iterator[Progressed]:
        """Count a step: its images, those that were computed, and those that were trained on.

        Yields a report when the last is REPORT_SECONDS old.
        """
        self._step += 1
        self._images += images
        self._done += computed + self._train_cost * trained
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            yield self.report()

    def end_epoch(self, epoch: int) -> Progressed:
        """Report the end of an epoch."""
        self._epoch = epoch
        return self.report()

    def report(self) -> Progressed:
        """Report the progress so far."""
        self._reported = now = time.monotonic()
        self._share = max(self._share, min(self._done / self._work, 1.0) if self._work else 1.0)
        share = self._share
        return Progressed(
            percent=round(99 * share, 1),  # the rest is evaluating and storing
            step=self._step,
            steps=self._steps,
            epoch=self._epoch,
            epochs=self._epochs,
            images_per_second=round(self._images / max(now - self._phase_began, 1e-6), 1),
            eta_seconds=round((now - self._began) * (1 - share) / share, 1) if share else None,
        )
