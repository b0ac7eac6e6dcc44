"""Rows of one trunk in the feature cache: found in those of jobs and of predictors, and added to the latter.

Jobs compute full batches, so that a row never depends on what else is computed; a predictor computes the images that
are there, and another number of images rounds differently. So its rows are in stores of its own, which jobs don't read.
Of jobs only the exact rows are read: those on which heads are trained are in half precision, often of another resizer,
and would move probabilities by some hundredths (measured: 0.08 for MobileNetV2 in bfloat16).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.features.engines.selection import REFERENCE
from models.features.extractor import HALF, SINGLE, name_rows, open_store
from models.features.row_index import MISSING

if TYPE_CHECKING:
    from collections.abc import Set

    import torch

    from models.features.cache import FeatureCache
    from models.features.engines.selection import EngineConfig
    from models.features.store import FeatureStore
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork

WRITE_SECONDS, WRITE_ROWS = 1.0, 256
"""Time and number of rows after which new ones are written, together: one took 2 ms by itself, for which the next image
waited."""
REFRESH_SECONDS = 2.0
"""Interval at which rows that other processes have added are looked for."""


class Row(NamedTuple):
    """The trunk's output for an image, and the kind of its rounding."""

    values: np.ndarray
    kind: str


EXACT, ENGINE = "exact", "engine"
"""Kinds of rows: exact ones, and those of an engine that is not the exact one."""


class CachedRows:
    """Rows of one trunk; used by one thread."""

    def __init__(
        self,
        cache: FeatureCache,
        cut_network: CutNetwork,
        preprocessing: Preprocessing,
        device: torch.device,
        config: EngineConfig,
    ) -> None:
        """Open the stores of an engine's rows, and of exact ones."""
        self._open = partial(open_store, cache, cut_network, preprocessing)
        own = {EXACT: REFERENCE, **({} if config == REFERENCE else {ENGINE: config})}
        self._own = {
            kind: self._open(name_rows(each, device.type, "pillow", batch="any"), SINGLE) for kind, each in own.items()
        }
        self._stores = [
            (EXACT, self._own[EXACT]),
            (EXACT, self._open(name_rows(REFERENCE, device.type, "pillow"), SINGLE)),
            *((kind, store) for kind, store in self._own.items() if kind != EXACT),
        ]
        """In the order of preference."""
        self._refreshed_at = time.monotonic()
        self._new: dict[bytes, tuple[Row, float]] = {}
        """Rows that are not yet written, by digest, with the seconds that they took."""
        self._oldest_at = 0.0

    @property
    def are_due(self) -> bool:
        """True if new rows should be written now, though other work waits."""
        return len(self._new) >= WRITE_ROWS or (bool(self._new) and time.monotonic() - self._oldest_at > WRITE_SECONDS)

    def open_training_rows(self, config: EngineConfig, device: str, resizer: str) -> FeatureStore:
        """Open the rows on which a job's head was trained, which any thread may read: in half precision."""
        return self._open(name_rows(config, device, resizer), HALF)

    def find(self, digests: Set[bytes]) -> dict[bytes, Row]:
        """Find the rows of images by their digests; those that are missing are left out."""
        found = self._find(digests)
        if len(found) < len(digests) and time.monotonic() - self._refreshed_at > REFRESH_SECONDS:
            for _, store in self._stores:
                store.refresh()
            self._refreshed_at = time.monotonic()
            found |= self._find(digests - found.keys())
        return found

    def add(self, kind: str, digests: list[bytes], rows: np.ndarray, seconds: float) -> None:
        """Add rows, which took `seconds` each, of one kind; they are found at once, and written later."""
        if not self._new:
            self._oldest_at = time.monotonic()
        self._new |= {digest: (Row(row, kind), seconds) for digest, row in zip(digests, rows, strict=True)}

    def write(self) -> None:
        """Write the new rows, for other predictors too."""
        new, self._new = self._new, {}
        for kind, store in self._own.items():
            of_kind = {digest: row for digest, (row, _) in new.items() if row.kind == kind}
            if store.is_full or not of_kind:  # of a full one they would live in this process's memory, for ever
                continue
            seconds = sum(new[digest][1] for digest in of_kind) / len(of_kind)
            rows = np.stack([row.values for row in of_kind.values()])
            with store.lock():
                store.append(np.array(list(of_kind), "V32"), 0, rows, seconds)

    def _find(self, digests: Set[bytes]) -> dict[bytes, Row]:
        found = {digest: self._new[digest][0] for digest in digests & self._new.keys()}
        for kind, store in self._stores:
            wanted = list(digests - found.keys())
            if wanted and store.count:
                numbers = store.find(np.array(wanted, "V32"), 0)
                there = np.flatnonzero(numbers != MISSING)
                rows = store.read(numbers[there]).astype(np.float32)
                found |= {wanted[place]: Row(row, kind) for place, row in zip(there.tolist(), rows, strict=True)}
        return found
