"""Dynamic batching: what arrived while the engine was busy leaves together, and at once where it is idle.

LitServe, the closest library, waits for a batch to fill up or for a timeout, hands requests between processes, and has
one network for each server: many heads on one trunk, the feature cache and the exact labels would all be written inside
its `predict`. What is left of it is a queue and a thread, which stand here without the wait and the copies.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from models.runtime.devices import translate_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from predictor.heads import Model
    from predictor.images import ImageInput
    from predictor.plan import Outputs
    from predictor.trunk import Computed, LoadedTrunk

MOST_IMAGES = 1024
"""Images from which on no further request joins a batch."""
IDLE_SECONDS = 0.25
"""Time without work after which computed rows are written to the feature cache."""


@dataclass(frozen=True, eq=False)
class Work:
    """Images for some models of one trunk."""

    trunk: LoadedTrunk
    models: tuple[Model, ...]
    """Works with the same models are answered by one product."""
    images: Sequence[ImageInput]
    outputs: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """Computes work in one thread, in the order in which it arrives, batch by batch."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._unwritten: set[LoadedTrunk] = set()
        """Trunks that may have rows for the feature cache that are not written."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Outputs]:
        """Add work to the next batch."""
        self._queue.put(work)
        return work.outputs

    def close(self) -> None:
        """End the thread after the work that is there."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._wait()) is not None:
            batch, is_last = self._take_more(first)
            by_trunk: dict[LoadedTrunk, list[Work]] = {}
            for work in batch:
                by_trunk.setdefault(work.trunk, []).append(work)
            for trunk, works in by_trunk.items():
                compute(works)
                trunk.write_rows(all_rows=False)
                self._unwritten.add(trunk)
            if is_last:
                break
        self._write_rows()

    def _wait(self) -> Work | None:
        """Wait for work; where none comes for a while, write the rows that were computed."""
        try:
            return self._queue.get(timeout=IDLE_SECONDS if self._unwritten else None)
        except Empty:
            self._write_rows()
            return self._queue.get()

    def _write_rows(self) -> None:
        for trunk in self._unwritten:
            trunk.write_rows(all_rows=True)
        self._unwritten.clear()

    def _take_more(self, first: Work) -> tuple[list[Work], bool]:
        """Take what else has arrived; True if the batcher is closed."""
        batch, images = [first], len(first.images)
        while images < MOST_IMAGES:
            try:
                work = self._queue.get_nowait()
            except Empty:
                break
            if work is None:
                return batch, True
            batch.append(work)
            images += len(work.images)
        return batch, False


def compute(works: Sequence[Work]) -> None:
    """Compute the work of one trunk together; an error of one's work is that one's alone.

    Where memory is short, it is a MemoryError, of torch too.
    """
    trunk = works[0].trunk
    try:
        with translate_errors():
            computed = trunk.compute_values([image for work in works for image in work.images])
            by_models: dict[tuple[Model, ...], list[tuple[Work, int]]] = {}
            start = 0
            for work in works:
                by_models.setdefault(work.models, []).append((work, start))
                start += len(work.images)
            for same in by_models.values():
                _answer(trunk, same, computed)
    except Exception as error:
        waiting = [work for work in works if not work.outputs.done()]
        if len(works) == 1:
            works[0].outputs.set_exception(error)  # its requester learns of it
            return
        for work in waiting:
            compute([work])


def _answer(trunk: LoadedTrunk, works: Sequence[tuple[Work, int]], computed: Sequence[Computed]) -> None:
    """Answer work for the same models by one product; each work comes with the place of its first values."""
    images = [image for work, _ in works for image in work.images]
    values = [each for work, start in works for each in computed[start : start + len(work.images)]]
    outputs = trunk.compute_outputs(trunk.plan(works[0][0].models), images, values)
    start = 0
    for work, _ in works:
        work.outputs.set_result(outputs.take(start, start + len(work.images)))
        start += len(work.images)
