"""Images of requests: decoded as their model's training did, by threads, and rendered for a trunk."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from models.images.decode import compute_digest, decode_checked

if TYPE_CHECKING:
    from models.images.decode import Decoding
    from models.images.views import Views

MOST_KNOWN = 200_000
"""Most files whose pixels' digests are remembered, at about 200 bytes each."""


class KnownFiles:
    """Digests of the pixels of files that were decoded: a file that comes again needs no decoding."""

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[bytes, Decoding], bytes] = OrderedDict()
        self._lock = Lock()

    def find(self, key: tuple[bytes, Decoding]) -> bytes | None:
        """Find the digest of a file's pixels."""
        with self._lock:
            return self._digests.get(key)

    def add(self, key: tuple[bytes, Decoding], digest: bytes) -> None:
        """Remember a digest."""
        with self._lock:
            self._digests[key] = digest
            if len(self._digests) > MOST_KNOWN:
                self._digests.popitem(last=False)


class ImageInput:
    """One image for one trunk; its pixels are computed when they are needed, once."""

    def __init__(self, data: bytes, decoding: Decoding, views: Views, known: KnownFiles, digest: bytes = b"") -> None:
        self._data, self._decoding, self._views, self._known = data, decoding, views, known
        self._pixels: np.ndarray | None = None
        self.size: tuple[int, int] | None = None
        """Width and height of the upright image, once it is rendered."""
        self.digest = digest or known.find(self._key) or b""
        """Digest of its pixels; empty until it is decoded, unless it was given, or the file has been seen before."""

    @cached_property
    def _key(self) -> tuple[bytes, Decoding]:
        return hashlib.sha256(self._data).digest(), self._decoding

    def prepare(self) -> None:
        """Decode it, unless it was seen before; raises BadImage and MemoryError."""
        if not self.digest:
            self.render()

    def render(self) -> np.ndarray:
        """Render it as the trunk's input, (3, H, W) uint8; raises BadImage and MemoryError."""
        if self._pixels is None:
            image = decode_checked(self._data, self._decoding)
            self.size = image.size
            if not self.digest:
                self.digest = compute_digest(image)
                self._known.add(self._key, self.digest)
            self._pixels = np.array(self._views.render(image, self.digest, 0))  # torch takes no read-only array
        return self._pixels
