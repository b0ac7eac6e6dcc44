"""Thumbnails: what the API orders of a predictor, which makes them; the API itself decodes no image."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

PATH = "/thumbnail"
"""Address at which a predictor takes orders."""
SIZES = (64, 128, 256, 512)
"""Longest sides of thumbnails; others are rounded up to one of them, so that few are made of each image."""


@dataclass(frozen=True)
class ThumbnailOrder:
    """An image in a pack, and the size of the thumbnail."""

    digest: str
    """Of the image's pixels, in hex."""
    pack: str
    """Storage key of the pack."""
    offset: int
    length: int
    decoding: dict[str, Any]
    """The rules by which the dataset's images are decoded."""
    size: int
    """Longest side in pixels, of SIZES."""

    def to_bytes(self) -> bytes:
        """Write it as a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> ThumbnailOrder:
        """Read a message."""
        return cls(**json.loads(message))


def round_size(size: int) -> int:
    """Round a size up to one that is made."""
    return next(each for each in SIZES if each >= size)
