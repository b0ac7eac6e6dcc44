"""Feature sources: batches of features by image and view, read through the cache or computed anew."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.features.rendering import render_images
from models.features.row_index import MISSING
from models.runtime.micro_batches import MicroBatches
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from models.datasets.pack import Pack
    from models.features.store import FeatureStore
    from models.features.trunk import Trunk
    from models.images.views import Views

READ_BATCH = 1024
"""Most rows that are read together."""
READ_BYTES = 1 << 20
"""Bytes of rows that are read together, where all rows are cached and batches are smaller."""
READ_NUMBERS = 2**24
"""Most numbers in the rows that are read together, where rows are large."""


@dataclass
class CacheCounts:
    """Hits and misses of the cache: rows read, rows computed, and the seconds that the rows read had once cost."""

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0


class CachedFeatures:
    """Features of one pack of images by one trunk, through stores of the cache."""

    is_cached = True

    def __init__(
        self,
        pack: Pack,
        views: Views,
        trunk: Trunk,
        get_store: Callable[[int], FeatureStore],
        heartbeat: Callable[[], None] = no_heartbeat,
    ) -> None:
        """Take `get_store(view)`, which gives the store of a view, and `heartbeat()`, which is called per batch."""
        self.pack = pack
        self.views = views
        self.trunk = trunk
        self.get_store = get_store
        self.heartbeat = heartbeat
        self.counts = CacheCounts()
        self._rows: dict[int, np.ndarray] = {}
        """By view, the row number of each image of the pack, MISSING until it was looked up and found."""

    def count_missing(self, images: np.ndarray, view: int) -> int:
        """Count the images whose features of `view` must be computed."""
        return int((self._find_rows(images, view) == MISSING).sum())

    def read_batches(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read `images` in order, `size` at a time: yields them and their features (size, D).

        Missing rows are computed on the way, just before they are needed, and cached.
        """
        rows = self._find_rows(images, view)
        if (rows == MISSING).any():
            yield from self._compute_batches(images, view, size)
        else:
            yield from self._read_cached_batches(images, rows, view, size)

    def _compute_batches(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read batches of images some of which must be computed."""
        store = self.get_store(view)
        is_absent = self._mark_first_missing(images, view)
        with _RowComputer(self, images[is_absent], view, store) as computer:
            for start in range(0, len(images), size):
                batch = images[start : start + size]
                while ((rows := self._find_rows(batch, view)) == MISSING).any():
                    computer.compute_batch()
                is_miss = is_absent[start : start + size] & computer.is_computed[batch]
                self.counts.misses += int(is_miss.sum())
                self.counts.hits += int((~is_miss).sum())
                self.counts.saved_seconds += store.sum_seconds(rows[~is_miss])
                self.heartbeat()
                yield batch, store.read(rows)

    def _read_cached_batches(
        self, images: np.ndarray, rows: np.ndarray, view: int, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read batches of images whose rows are all cached; small batches are read several at once."""
        store = self.get_store(view)
        block = size * max(1, READ_BYTES // (size * self.bytes_per_row))
        for start in range(0, len(rows), block):
            features = store.read(rows[start : start + block])
            self.counts.saved_seconds += store.sum_seconds(rows[start : start + block])
            for first in range(0, len(features), size):
                batch = features[first : first + size]
                self.counts.hits += len(batch)
                self.heartbeat()
                yield images[start + first : start + first + size], batch

    def _find_rows(self, images: np.ndarray, view: int) -> np.ndarray:
        """Find the rows (n,) of images in the store of `view`, or MISSING; looks up only rows not found before."""
        if view not in self._rows:
            self._rows[view] = np.full(len(self.pack), MISSING)
        rows = self._rows[view]
        unknown = images[rows[images] == MISSING]
        if len(unknown):
            rows[unknown] = self.get_store(view).find(self.pack.digests[unknown], view)
        found: np.ndarray = rows[images]
        return found

    def _mark_first_missing(self, images: np.ndarray, view: int) -> np.ndarray:
        """Mark the first occurrence in `images` of each one that is missing: (n,) of bool."""
        missing = np.flatnonzero(self._find_rows(images, view) == MISSING)
        _, firsts = np.unique(self.pack.digests[images[missing]], return_index=True)
        is_absent = np.zeros(len(images), bool)
        is_absent[missing[firsts]] = True
        return is_absent

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one cached row."""
        store = self.get_store(0)
        return int(np.prod(store.shape)) * store.dtype.itemsize

    @property
    def read_batch_size(self) -> int:
        """Rows to read together for inference: many, within bounded memory."""
        numbers = int(np.prod(self.get_store(0).shape))
        return max(1, min(READ_BATCH, READ_NUMBERS // numbers))

    def choose_view(self, epoch: int, views: int) -> int:
        """Choose the view of an epoch (1, 2, …): view 0 and the `views` augmented ones in turn."""
        return (epoch - 1) % (views + 1)

    def to_input(self, rows: np.ndarray) -> torch.Tensor:
        """Move rows to the device as float32, ready for mixup."""
        return torch.from_numpy(rows).to(self.trunk.device).float()

    def forward_trunk(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs: cached rows are the trunk's output already."""
        return inputs

    def read_all(self, images: np.ndarray, view: int) -> np.ndarray:
        """Read the features of all `images` at once, (len(images), D)."""
        return np.concatenate([rows for _, rows in self.read_batches(images, view, READ_BATCH)])


class RenderedImages:
    """Images that go through the trunk anew each time: nothing is cached."""

    is_cached = False

    def __init__(self, pack: Pack, views: Views, trunk: Trunk, heartbeat: Callable[[], None] = no_heartbeat) -> None:
        """Take `heartbeat()`, which is called per batch."""
        self.pack, self.views, self.trunk, self.heartbeat = pack, views, trunk, heartbeat
        self.counts = CacheCounts()
        self.read_batch_size = trunk.batch_size
        self.bytes_per_row = 0

    def count_missing(self, images: np.ndarray, view: int) -> int:
        """Count all images: each must be computed."""
        return len(images)

    def read_batches(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Render `images` in order, `size` at a time: yields them and their pixels (size, 3, H, W) uint8."""
        for batch, pixels in render_images(self.pack, self.views, images, view, size, self.heartbeat):
            self.counts.misses += len(batch)
            yield batch, pixels

    def choose_view(self, epoch: int, views: int) -> int:
        """Choose the view of an epoch (1, 2, …): a new one each time, or always view 0 without augmented ones."""
        return epoch - 1 if views else 0

    def to_input(self, rows: np.ndarray) -> torch.Tensor:
        """Normalize pixels to the network's input, ready for mixup."""
        return self.trunk.to_input(rows)

    def forward_trunk(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute the trunk's output, without gradients."""
        with torch.no_grad():
            output: torch.Tensor = self.trunk.network(inputs)
        return output


FeatureSource = CachedFeatures | RenderedImages
"""Input of training: rows by image and view."""


def forward_plain_views(network: torch.nn.Module, source: FeatureSource, images: np.ndarray) -> Iterator[torch.Tensor]:
    """Compute the output of a network above the cut for view 0 of images, batch by batch, in order."""
    micro_batches = MicroBatches()

    def forward(inputs: torch.Tensor, count: int) -> torch.Tensor:
        return torch.cat([network(source.forward_trunk(part)) for part in inputs.tensor_split(count)])

    for _, rows in source.read_batches(images, 0, source.read_batch_size):
        inputs = source.to_input(rows)
        # Not inference mode: a network that caches its tensors could not be trained afterwards.
        with torch.no_grad():
            output = micro_batches.run(partial(forward, inputs), len(inputs))
        yield output


class _RowComputer:
    """Computes missing rows in order, a batch of the trunk at a time, and appends them to the store.

    The store is locked for each batch, not for the whole walk: whoever reads the batches may train for long in between.
    """

    def __init__(self, source: CachedFeatures, images: np.ndarray, view: int, store: FeatureStore) -> None:
        self._source, self._view, self._store = source, view, store
        self._left = images
        """Images whose rows are to be computed."""
        self._rendered = self._render()
        self.is_computed = np.zeros(len(source.pack), bool)
        """Of each image of the pack, whether its row was computed here."""

    def __enter__(self) -> _RowComputer:
        return self

    def __exit__(self, *_: object) -> None:
        self._rendered.close()

    def compute_batch(self) -> None:
        """Compute the next rows, but for those that other processes have computed meanwhile."""
        with self._store.lock(self._source.heartbeat) as has_news:
            if has_news:
                self._leave_out_found()
                if not len(self._left):
                    return
            began = time.perf_counter()
            images, pixels = next(self._rendered)
            rows = self._source.trunk(pixels)
            seconds = (time.perf_counter() - began) / len(images)
            self._store.append(self._source.pack.digests[images], self._view, rows, seconds)
        self._left = self._left[len(images) :]
        self.is_computed[images] = True

    def _leave_out_found(self) -> None:
        is_missing = self._store.find(self._source.pack.digests[self._left], self._view) == MISSING
        if not is_missing.all():
            self._rendered.close()
            self._left = self._left[is_missing]
            self._rendered = self._render()

    def _render(self) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        source = self._source
        return render_images(
            source.pack, source.views, self._left, self._view, source.trunk.batch_size, source.heartbeat
        )
