"""Packs: the files of accepted images, unchanged, in one file, with an index.

An index is the length of its header (8 bytes, little-endian), the header (JSON: names of files, how they are decoded,
flags, the labels of a multi-label dataset), and a fixed-width record for each image.
"""

from __future__ import annotations

import base64
import json
import mmap
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from models.images.decode import Decoding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NEWEST = Decoding()
UNLABELLED = "unlabelled"
SPLIT_CODES = ("", "train", "validation", "test", UNLABELLED)
"""Splits by their number in a record; "" if the dataset gives none. Unlabelled images are in none of the others."""
NO_LABEL = 0xFFFFFFFF
"""Class of an image without labels in its record."""

FLAGS = ("grayscale", "alpha", "rotated", "deep", "copies")
"""What is notable of an image, bit by bit: all pixels are grey; its file can be transparent, is turned by its EXIF
data, has more than 8 bits, is one of several with the same image."""

RECORD = np.dtype(
    [
        ("digest", "V32"),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("label", "<u4"),
        ("split", "u1"),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One image of a pack."""

    digest: bytes
    """Digest of its size and 8-bit pixels, 32 bytes."""
    offset: int
    length: int
    width: int
    height: int
    labels: tuple[int, ...]
    """Indices of classes; more than one, or none, only in a multi-label dataset, and none in an unlabelled one."""
    split: str
    name: str
    lossless_digest: bytes | None = None
    """Digest of an image of more than 8 bits, with all of them."""
    flags: frozenset[str] = frozenset()
    """Of FLAGS."""


def write_index(file: IO[bytes], entries: Sequence[Entry], decoding: Decoding = NEWEST) -> None:
    """Write the index of a pack, whose images are decoded by `decoding`."""
    header: dict[str, Any] = {"names": [entry.name for entry in entries], "decoding": decoding.to_dict()}
    bits = bytes(sum(1 << FLAGS.index(flag) for flag in entry.flags) for entry in entries)
    header["flags"] = base64.b64encode(bits).decode()
    if any(len(entry.labels) > 1 for entry in entries):
        header["labels"] = [list(entry.labels) for entry in entries]
    lossless = {place: entry.lossless_digest for place, entry in enumerate(entries) if entry.lossless_digest}
    if lossless:
        header["lossless_digests"] = {place: digest.hex() for place, digest in lossless.items()}
    encoded = json.dumps(header).encode()
    records = np.zeros(len(entries), RECORD)
    for record, entry in zip(records, entries, strict=True):
        record["digest"] = np.void(entry.digest)
        record["label"] = entry.labels[0] if entry.labels else NO_LABEL
        record["split"] = SPLIT_CODES.index(entry.split)
        for field in ("offset", "length", "width", "height"):
            record[field] = getattr(entry, field)
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    file.write(records.tobytes())


class Pack:
    """A pack on this machine's disk, memory-mapped."""

    def __init__(self, pack: Path, index: Path) -> None:
        content = index.read_bytes()
        length = int.from_bytes(content[:8], "little")
        self._header = json.loads(content[8 : 8 + length])
        self._records = np.frombuffer(content, RECORD, offset=8 + length)
        with pack.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._records)

    def read_file(self, image: int) -> bytes:
        """Read the file of one image."""
        record = self._records[image]
        start = int(record["offset"])
        return self._bytes[start : start + int(record["length"])]

    @property
    def decoding(self) -> Decoding:
        """The rules by which its images are decoded; version 1 if it was packed before they had versions."""
        return Decoding.from_dict(self._header.get("decoding", {"version": 1}))

    @property
    def digests(self) -> np.ndarray:
        """The digest of each image's 8-bit pixels, (n,) of 32 bytes."""
        return self._records["digest"]

    @property
    def lossless_digests(self) -> list[bytes]:
        """The digest of each image with all bits of its pixels: it does not depend on the dataset."""
        digests: list[bytes] = self.digests.tolist()
        for place, digest in self._header.get("lossless_digests", {}).items():
            digests[int(place)] = bytes.fromhex(digest)
        return digests

    @property
    def pixels(self) -> np.ndarray:
        """The number of pixels of each image, int64 of shape (n,)."""
        pixels: np.ndarray = self._records["width"].astype(np.int64) * self._records["height"]
        return pixels

    @property
    def shorter_sides(self) -> np.ndarray:
        """The shorter side of each image, in pixels, of shape (n,)."""
        sides: np.ndarray = np.minimum(self._records["width"], self._records["height"])
        return sides

    @property
    def labels(self) -> np.ndarray:
        """The class of each image, int64 of shape (n,); of a multi-label dataset, the first (NO_LABEL if none)."""
        return self._records["label"].astype(np.int64)

    @property
    def is_multi_label(self) -> bool:
        """True if any image has several classes."""
        return "labels" in self._header

    def list_labels(self, image: int) -> list[int]:
        """List the classes of one image; none if it is unlabelled."""
        if self.is_multi_label:
            return list(self._header["labels"][image])
        label = int(self._records["label"][image])
        return [] if label == NO_LABEL else [label]

    def encode_targets(self, num_classes: int) -> np.ndarray:
        """Encode the classes of each image as multi-hot float32 of shape (n, num_classes)."""
        targets = np.zeros((len(self), num_classes), np.float32)
        images = np.flatnonzero(self.labels != NO_LABEL)
        labels = self.labels[images]
        if self.is_multi_label:
            several: list[list[int]] = self._header["labels"]
            images = np.repeat(np.arange(len(self)), [len(of_one) for of_one in several])
            labels = np.fromiter(chain.from_iterable(several), np.int64)
        targets[images, labels] = 1
        return targets

    @property
    def splits(self) -> np.ndarray:
        """The split that the dataset gives each image, a number in SPLIT_CODES."""
        return self._records["split"]

    @property
    def names(self) -> list[str]:
        """The path of each image in its archive."""
        names: list[str] = self._header["names"]
        return names
