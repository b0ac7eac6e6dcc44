"""Features: what the trunk says about views of pictures, read through the cache."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.feature_cache import Space
from models.images import decode
from models.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from models.backbones.backbone import Preprocessing
    from models.catalog.augmentations import Augmentation
    from models.datasets.pack import Pack
    from models.surgery import Pooled

TRUNK_BATCH = {"cpu": 16, "cuda": 128, "mps": 64}
"""Pictures that go through the trunk at once, by type of device."""
READ_BATCH = 1024
"""Rows that are taken out of the cache at once."""
LOOKAHEAD = 3
"""Batches of pictures that are decoded ahead of the trunk: bounds memory, and keeps the trunk busy."""


class FeaturesNotFinite(Exception):
    """The trunk gives NaN or infinity: its weights are broken, or do not fit their architecture."""


class Trunk:
    """A frozen network on its device, fed with at most `batch` pictures of bytes: (B, 3, H, W) uint8 → (B, D) float32.

    What it says of a picture depends on no other: the network always gets a whole batch, filled up where there are
    fewer, because kernels are chosen by size, and another kernel rounds differently.
    """

    def __init__(self, network: torch.nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self.batch = TRUNK_BATCH[device.type]
        # In the order of timm's own transform (ToTensor, Normalize), so that view 0 agrees to the bit.
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, -1, 1, 1)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Features of pictures; raises FeaturesNotFinite."""
        whole = pictures if len(pictures) == self.batch else pictures[np.arange(self.batch) % len(pictures)]
        pixels = torch.from_numpy(whole).to(self.device, non_blocking=True).float().div_(255)
        pixels = pixels.sub_(self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)
        features: np.ndarray = self.network(pixels)[: len(pictures)].float().cpu().numpy()
        if not np.isfinite(features).all():
            raise FeaturesNotFinite(
                "The backbone gives NaN or infinite values for pictures of this dataset. "
                "Its weights are broken; choose another backbone."
            )
        return features


@dataclass
class Counts:
    """What the cache did: rows read, rows computed, and the seconds that the rows read had once cost."""

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0


class Features:
    """The features of one set of pictures by one trunk, through one space of the cache."""

    def __init__(self, pack: Pack, views: Views, trunk: Trunk, space_of: Callable[[int], Space]) -> None:
        """`space_of(view)` gives the space that keeps the view."""
        self.pack = pack
        self.views = views
        self.trunk = trunk
        self.space_of = space_of
        self.counts = Counts()

    def missing(self, pictures: np.ndarray, view: int) -> int:
        """How many of these pictures must be computed for `view`."""
        return len(self.space_of(view).missing(self._digests(pictures), view))

    def batches(self, pictures: np.ndarray, view: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Walk `pictures` in order, `size` at a time: yields them and their features (size, D).

        Rows that the cache lacks are computed on the way, just before they are needed, and kept.
        """
        space = self.space_of(view)
        digests = self._digests(pictures)
        computed = None
        with ExitStack() as stack:
            if lacking := space.missing(digests, view):
                stack.enter_context(space.computing())
                lacking = space.missing(digests, view)  # others may have computed them meanwhile
                computed = stack.enter_context(_Stream(self, pictures[lacking], view, space))
            absent = np.zeros(len(pictures), bool)
            absent[lacking] = True
            for start in range(0, len(pictures), size):
                wanted = slice(start, start + size)
                misses = int(absent[wanted].sum())
                if computed is not None:
                    computed.advance(misses)
                hits = [d for d, lack in zip(digests[wanted], absent[wanted], strict=True) if not lack]
                self.counts.misses += misses
                self.counts.hits += len(hits)
                self.counts.saved_seconds += space.seconds(hits, view)
                yield pictures[wanted], space.read(digests[wanted], view)

    def all(self, pictures: np.ndarray, view: int) -> np.ndarray:
        """The features of all `pictures`, (len(pictures), D)."""
        return np.concatenate([rows for _, rows in self.batches(pictures, view, READ_BATCH)])

    def _digests(self, pictures: np.ndarray) -> list[bytes]:
        return [self.pack.digests[picture] for picture in pictures]


def open_features(
    pack: Pack,
    pooled: Pooled,
    preprocessing: Preprocessing,
    augmentations: Sequence[Augmentation],
    cache: Path,
    device: torch.device,
) -> tuple[Features, Features]:
    """The features of a pack for training, in half precision, and those for testing, exact and of view 0 alone."""
    views = Views(preprocessing, augmentations)
    trunk = Trunk(pooled.trunk, preprocessing, device)
    key = {
        "trunk": pooled.digest,
        "cut": pooled.cut,
        "preprocessing": preprocessing.plain(),
        "decoding": "pillow",
        "engine": f"eager {device.type}",
        "precision": "float32",
    }
    shape, half = (pooled.num_features,), np.dtype(np.float16)
    plain = Space(cache, key, shape, half)
    augmented = Space(cache, {**key, "policy": views.policy.hex()}, shape, half)
    # What is reported of the test must be true of the delivered network to the last digit: nothing is rounded.
    exact = Space(cache, key, shape, np.dtype(np.float32))
    return (
        Features(pack, views, trunk, lambda view: augmented if view else plain),
        Features(pack, views, trunk, lambda _: exact),
    )


class _Stream:
    """Computes rows in order, decoding ahead in threads (Pillow frees the interpreter while it decodes)."""

    def __init__(self, features: Features, pictures: np.ndarray, view: int, space: Space) -> None:
        self.features, self.view, self.space = features, view, space
        size = features.trunk.batch
        self._batches = deque(pictures[start : start + size] for start in range(0, len(pictures), size))
        self._ahead: deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = deque()
        self._ready = 0
        self._threads = ThreadPoolExecutor(thread_name_prefix="decode")

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def advance(self, rows: int) -> None:
        """Have at least `rows` more rows in the space than were taken so far."""
        self._ready -= rows
        while self._ready < 0:
            self._compute()

    def _compute(self) -> None:
        while self._batches and len(self._ahead) < LOOKAHEAD:
            batch = self._batches.popleft()
            self._ahead.append((batch, [self._threads.submit(self._render, p) for p in batch]))
        began = time.perf_counter()
        pictures, rendered = self._ahead.popleft()
        rows = self.features.trunk(np.stack([future.result() for future in rendered]))
        seconds = (time.perf_counter() - began) / len(pictures)
        self.space.append(self.features._digests(pictures), self.view, rows, seconds)
        self._ready += len(pictures)

    def _render(self, picture: int) -> np.ndarray:
        image = decode(self.features.pack.encoded(picture))
        return self.features.views.render(image, self.features.pack.digests[picture], self.view)
