"""Index of a pack, as the API reads it: columns of numbers, without numpy. Nothing is decoded here.

The format is that of models/datasets/pack.py, which the API does not load.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.byte_cache import ByteCache

if TYPE_CHECKING:
    from service.storage import Storage

RECORD = struct.Struct("<32sQIIIIB")
"""Digest, offset and length in the pack, width, height, label and split of an image."""
SIZE, SIZE_OFFSET = struct.Struct("<II"), 44
"""Width and height in a record."""
DIGEST = re.compile(r"[0-9a-fA-F]{64}")
SPLITS = (None, "train", "validation", "test", None)
UNLABELLED_SPLIT = 4
NO_LABEL = 0xFFFFFFFF
FLAGS = ("grayscale", "alpha", "rotated", "deep", "copies")
"""Flags that validation finds, bit by bit."""
SMALL_SIDE, LONG_RATIO = 64, 3
"""An image is small if its shorter side has fewer pixels, and elongated if one side is more than this many times the
other."""
MEASURED_FLAGS = ("small", "elongated", "unlabelled")
"""Flags that follow from the index of any release."""
MOST_KEPT_BYTES = 256 << 20
"""Bytes of the indexes that are kept in memory after they were read: some 150 an image."""
_kept: ByteCache[PackIndex] = ByteCache(MOST_KEPT_BYTES)


class Record(NamedTuple):
    """Record of one image in an index."""

    digest: bytes
    offset: int
    length: int
    width: int
    height: int
    label: int
    split: int


@dataclass(frozen=True, eq=False)
class PackIndex:
    """The index of a pack, which never changes."""

    records: bytes
    names: list[str]
    several_labels: list[list[int]] | None
    """Numbers of the classes of each image; None where no image has several."""
    flags: bytes | None
    """Bits of FLAGS of each image; None for a dataset of an earlier release."""
    decoding: dict[str, Any]
    """The rules by which its images are decoded."""
    splits: bytes = field(init=False)
    """The split of each image, a number in SPLITS."""
    labels: array[int] = field(init=False)
    """The class of each image, the first of several; NO_LABEL if none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", self.records[RECORD.size - 1 :: RECORD.size])
        object.__setattr__(self, "labels", array("I", (record[5] for record in RECORD.iter_unpack(self.records))))

    @classmethod
    def from_bytes(cls, content: bytes) -> PackIndex:
        """Read a file."""
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        flags = base64.b64decode(header["flags"]) if "flags" in header else None
        decoding = header.get("decoding", {"version": 1})
        return cls(content[8 + length :], header["names"], header.get("labels"), flags, decoding)

    def __len__(self) -> int:
        return len(self.names)

    def measure(self) -> int:
        """Measure the bytes that it takes in memory."""
        columns = (self.records, self.names, self.several_labels, self.flags, self.splits, self.labels)
        return sum(map(sys.getsizeof, (*columns, *self.names, *(self.several_labels or ()))))

    def get(self, place: int) -> Record:
        """Get the record of the image at a place."""
        return Record._make(RECORD.unpack_from(self.records, place * RECORD.size))

    def find_place(self, digest: str) -> int | None:
        """Find the place of the image with this digest, in hex."""
        wanted = bytes.fromhex(digest) if DIGEST.fullmatch(digest) else None
        start = 0
        while wanted is not None and (start := self.records.find(wanted, start)) >= 0:
            if start % RECORD.size == 0:
                return start // RECORD.size
            start += 1
        return None

    def find_labels(self, place: int) -> list[int]:
        """Find the numbers of the classes of an image."""
        if self.several_labels is not None:
            return self.several_labels[place]
        return [] if self.labels[place] == NO_LABEL else [self.labels[place]]

    def find_flags(self, place: int) -> list[str]:
        """Find the flags of an image."""
        bits = 0 if self.flags is None else self.flags[place]
        found = [name for bit, name in enumerate(FLAGS) if bits >> bit & 1] if bits else []
        return found + self._measure_flags(place)

    def has_flag(self, place: int, flag: str) -> bool:
        """Tell whether an image has a flag, one of FLAGS or MEASURED_FLAGS."""
        if flag in FLAGS:
            return self.flags is not None and bool(self.flags[place] >> FLAGS.index(flag) & 1)
        return flag in self._measure_flags(place)

    def _measure_flags(self, place: int) -> list[str]:
        """Measure which of MEASURED_FLAGS an image has."""
        width, height = SIZE.unpack_from(self.records, place * RECORD.size + SIZE_OFFSET)
        shorter, longer = (width, height) if width < height else (height, width)
        found = ["small"] if shorter < SMALL_SIDE else []
        if longer > LONG_RATIO * shorter:
            found.append("elongated")
        if self.labels[place] == NO_LABEL:
            found.append("unlabelled")
        return found


def read_index(storage: Storage, key: str) -> PackIndex:
    """Read an index, which is kept in memory then; a page of a large one would else take as long as all of it."""
    found = _kept.recall((storage, key))
    if found is None:
        with storage.reading(key) as file:
            found = PackIndex.from_bytes(file.read())
        _kept.remember((storage, key), found, found.measure())
    return found
