"""Features: what the trunk says about views of images, read through the cache."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.features.row_index import MISSING
from models.images.decode import decode
from models.runtime.context import no_heartbeat
from models.runtime.micro_batches import MicroBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from models.datasets.pack import Pack
    from models.features.store import FeatureStore
    from models.features.trunk import Trunk
    from models.images.views import Views

READ_BATCH = 1024
"""Rows that are taken out of the cache at once."""
READ_BYTES = 1 << 20
"""Bytes of rows that are taken out of it at once, where all that are asked for are there and batches are smaller."""
READ_NUMBERS = 2**24
"""Numbers that are taken out of it at once, where rows are large."""
LOOKAHEAD = 3
"""Batches of images that are decoded ahead of the trunk: bounds memory, and keeps the trunk busy."""


@dataclass
class Counts:
    """What the cache did: rows read, rows computed, and the seconds that the rows read had once cost."""

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0


class CachedFeatures:
    """The features of one set of images by one trunk, through one store of the cache."""

    is_cached = True

    def __init__(
        self,
        pack: Pack,
        views: Views,
        trunk: Trunk,
        store_of: Callable[[int], FeatureStore],
        heartbeat: Callable[[], None] = no_heartbeat,
    ) -> None:
        """`store_of(view)` gives the store that keeps the view; `heartbeat()` is called with each batch."""
        self.pack = pack
        self.views = views
        self.trunk = trunk
        self.store_of = store_of
        self.heartbeat = heartbeat
        self.counts = Counts()
        self._rows: dict[int, np.ndarray] = {}
        """Of each view, the row of each image of the pack, as far as it was looked up and found."""

    def missing(self, images: np.ndarray, view: int) -> int:
        """How many of these images must be computed for `view`."""
        return int((self._find(images, view) == MISSING).sum())

    def batches(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Walk `images` in order, `size` at a time: yields them and their features (size, D).

        Rows that the cache lacks are computed on the way, just before they are needed, and kept.
        """
        rows = self._find(images, view)
        if (rows == MISSING).any():
            yield from self._compute(images, view, size)
        else:
            yield from self._read(images, rows, view, size)

    def _compute(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of images some of which must be computed."""
        store = self.store_of(view)
        with store.computing():
            absent = self._first_missing(images, view)  # others may have computed some meanwhile
            with _Stream(self, images[absent], view, store) as computed:
                for start in range(0, len(images), size):
                    batch, is_miss = images[start : start + size], absent[start : start + size]
                    computed.advance(int(is_miss.sum()))
                    rows = self._find(batch, view)
                    self.counts.misses += int(is_miss.sum())
                    self.counts.hits += int((~is_miss).sum())
                    self.counts.saved_seconds += store.seconds(rows[~is_miss])
                    self.heartbeat()
                    yield batch, store.read(rows)

    def _read(
        self, images: np.ndarray, rows: np.ndarray, view: int, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of images whose rows are all there; where they are small, several are read at once."""
        store = self.store_of(view)
        block = size * max(1, READ_BYTES // (size * self.bytes_per_row))
        for start in range(0, len(rows), block):
            features = store.read(rows[start : start + block])
            self.counts.saved_seconds += store.seconds(rows[start : start + block])
            for first in range(0, len(features), size):
                batch = features[first : first + size]
                self.counts.hits += len(batch)
                self.heartbeat()
                yield images[start + first : start + first + size], batch

    def _find(self, images: np.ndarray, view: int) -> np.ndarray:
        """Rows of these images (n,) in the store of `view`, or MISSING; one that was found is not looked up again."""
        if view not in self._rows:
            self._rows[view] = np.full(len(self.pack), MISSING)
        rows = self._rows[view]
        unknown = images[rows[images] == MISSING]
        if len(unknown):
            rows[unknown] = self.store_of(view).find(self.pack.digests[unknown], view)
        found: np.ndarray = rows[images]
        return found

    def _first_missing(self, images: np.ndarray, view: int) -> np.ndarray:
        """Where in `images` each that is missing stands for the first time: (n,) of bool."""
        missing = np.flatnonzero(self._find(images, view) == MISSING)
        _, firsts = np.unique(self.pack.digests[images[missing]], return_index=True)
        absent = np.zeros(len(images), bool)
        absent[missing[firsts]] = True
        return absent

    @property
    def bytes_per_row(self) -> int:
        """What the cache keeps of a view of an image."""
        store = self.store_of(0)
        return int(np.prod(store.shape)) * store.dtype.itemsize

    @property
    def read_batch(self) -> int:
        """Rows to take at once where they go through a network: many, but not too much memory."""
        row = int(np.prod(self.store_of(0).shape))
        return max(1, min(READ_BATCH, READ_NUMBERS // row))

    def view(self, epoch: int, views: int) -> int:
        """The view of an epoch (1, 2, …): the plain one and the augmented ones in turn."""
        return (epoch - 1) % (views + 1)

    def given(self, rows: np.ndarray) -> torch.Tensor:
        """Rows as numbers on the device, to be mixed."""
        return torch.from_numpy(rows).to(self.trunk.device).float()

    def at_cut(self, given: torch.Tensor) -> torch.Tensor:
        """What the top is given: that is what the cache holds."""
        return given

    def all(self, images: np.ndarray, view: int) -> np.ndarray:
        """The features of all `images`, (len(images), D)."""
        return np.concatenate([rows for _, rows in self.batches(images, view, READ_BATCH)])


class RenderedImages:
    """A set of images that go through the trunk anew each time: nothing is cached."""

    is_cached = False

    def __init__(self, pack: Pack, views: Views, trunk: Trunk, heartbeat: Callable[[], None] = no_heartbeat) -> None:
        """`heartbeat()` is called with each batch."""
        self.pack, self.views, self.trunk, self.heartbeat = pack, views, trunk, heartbeat
        self.counts = Counts()
        self.read_batch = trunk.batch
        self.bytes_per_row = 0

    def missing(self, images: np.ndarray, view: int) -> int:
        """All of them must be computed."""
        return len(images)

    def batches(self, images: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Walk `images` in order, `size` at a time: yields them and their pixels (size, 3, H, W) uint8."""
        for batch, pixels in rendered(self.pack, self.views, images, view, size, self.heartbeat):
            self.counts.misses += len(batch)
            yield batch, pixels

    def view(self, epoch: int, views: int) -> int:
        """The view of an epoch (1, 2, …): a new one each time, where there are augmented ones."""
        return epoch - 1 if views else 0

    def given(self, rows: np.ndarray) -> torch.Tensor:
        """Images as the network takes them, to be mixed."""
        return self.trunk.normalized(rows)

    def at_cut(self, given: torch.Tensor) -> torch.Tensor:
        """What the top is given: the trunk's output."""
        with torch.no_grad():
            output: torch.Tensor = self.trunk.network(given)
        return output


FeatureSource = CachedFeatures | RenderedImages
"""What training reads: rows by image and view."""


def forward_plain_views(network: torch.nn.Module, source: FeatureSource, images: np.ndarray) -> Iterator[torch.Tensor]:
    """What a network, given what the cut gives, says about the plain views of images, batch by batch, in order."""
    parts = MicroBatches()

    def said(given: torch.Tensor, count: int) -> torch.Tensor:
        return torch.cat([network(source.at_cut(part)) for part in given.tensor_split(count)])

    for _, rows in source.batches(images, 0, source.read_batch):
        given = source.given(rows)
        with torch.no_grad():  # in inference mode, networks that keep what they computed could not be trained after
            features = parts.run(partial(said, given), len(given))
        yield features


def rendered(
    pack: Pack,
    views: Views,
    images: np.ndarray,
    view: int,
    size: int,
    heartbeat: Callable[[], None] = no_heartbeat,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Images in order, `size` at a time, with their pixels. Threads decode ahead: Pillow frees the interpreter."""

    def render(image: int) -> np.ndarray:
        return views.render(decode(pack.read_file(image)), pack.digests[image].tobytes(), view)

    waiting = deque(images[start : start + size] for start in range(0, len(images), size))
    ahead: deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = deque()
    threads = ThreadPoolExecutor(thread_name_prefix="decode")
    try:
        while waiting or ahead:
            while waiting and len(ahead) < LOOKAHEAD:
                batch = waiting.popleft()
                ahead.append((batch, [threads.submit(render, image) for image in batch]))
            batch, pixels = ahead.popleft()
            heartbeat()
            yield batch, np.stack([future.result() for future in pixels])
    finally:
        threads.shutdown(cancel_futures=True)


class _Stream:
    """Computes rows in order, as they are needed."""

    def __init__(self, features: CachedFeatures, images: np.ndarray, view: int, store: FeatureStore) -> None:
        self.features, self.view, self.store = features, view, store
        self._rendered = rendered(features.pack, features.views, images, view, features.trunk.batch, features.heartbeat)
        self._ready = 0

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._rendered.close()

    def advance(self, rows: int) -> None:
        """Have at least `rows` more rows in the store than were taken so far."""
        self._ready -= rows
        while self._ready < 0:
            self._compute()

    def _compute(self) -> None:
        began = time.perf_counter()
        images, pixels = next(self._rendered)
        rows = self.features.trunk(pixels)
        seconds = (time.perf_counter() - began) / len(images)
        self.store.append(self.features.pack.digests[images], self.view, rows, seconds)
        self._ready += len(images)
