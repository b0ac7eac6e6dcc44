"""The first directory of a TIFF file: its tags, and copies of the file in which some are changed or left out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

(
    BITS_PER_SAMPLE,
    COMPRESSION,
    PHOTOMETRIC,
    STRIP_OFFSETS,
    SAMPLES_PER_PIXEL,
    STRIP_BYTES,
    PLANAR,
    COLOUR_MAP,
    TILE_OFFSETS,
    TILE_BYTES,
    EXTRA_SAMPLES,
    SAMPLE_FORMAT,
) = (258, 259, 262, 273, 277, 279, 284, 320, 324, 325, 338, 339)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5
UNSIGNED = 1
SEPARATE = 2
OF_PIXELS = frozenset(
    (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339)
).union(
    (347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532)  # JPEG in TIFF, YCbCr
)
"""Tags on which pixels depend; all others are metadata."""
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SIZES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 13: ("I", 4), 16: ("Q", 8), 18: ("Q", 8)}
"""Types of whole numbers: their letter in struct, and their bytes."""
MAX_TAGS = 4096


class NotTiff(Exception):
    """The file has no TIFF directory that can be read."""


@dataclass(frozen=True)
class _Form:
    """Byte order and width of the numbers in a directory."""

    order: str
    is_big: bool

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, number of values, and the values or where they lie."""
        return struct.Struct(self.order + ("HHQ8s" if self.is_big else "HHI4s"))

    @property
    def place(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "I"))


@dataclass(frozen=True)
class Directory:
    """First directory of a file."""

    data: bytes
    form: _Form
    entries: Mapping[int, tuple[int, int, bytes]]
    """By tag: type, number of values, and the field that holds them or says where they lie."""

    @classmethod
    def read(cls, data: bytes) -> Directory:
        """Read the first directory; raises NotTiff."""
        if data[:4] not in MAGIC:
            raise NotTiff("the file is no TIFF")
        form = _Form("<" if data[:2] == b"II" else ">", b"+" in data[2:4])
        try:
            (start,) = form.place.unpack_from(data, 8 if form.is_big else 4)
            (count,) = form.count.unpack_from(data, start)
            if count > MAX_TAGS:
                raise NotTiff("the directory has too many tags")
            first = start + form.count.size
            entries = [form.entry.unpack_from(data, first + number * form.entry.size) for number in range(count)]
        except struct.error as error:
            raise NotTiff("the directory cannot be read") from error
        return cls(data, form, {tag: (kind, values, field) for tag, kind, values, field in reversed(entries)})

    def count(self, tag: int) -> int:
        """Count the values of a tag."""
        return self.entries[tag][1] if tag in self.entries else 0

    def is_whole_numbers(self, tag: int) -> bool:
        """Tell whether a tag is there and has whole numbers, not bytes."""
        return tag in self.entries and SIZES.get(self.entries[tag][0], ("B", 1))[1] > 1

    def get(self, tag: int, default: Sequence[int] = ()) -> Sequence[int]:
        """Get the whole numbers of a tag."""
        kind, count, field = self.entries.get(tag, (0, 0, b""))
        if kind not in SIZES or not count:
            return default
        letter, size = SIZES[kind]
        if count * size > len(self.data):
            return default
        (place,) = self.form.place.unpack(field)
        content = field if count * size <= len(field) else self.data[place : place + count * size]
        if len(content) < count * size:
            return default
        return struct.unpack_from(f"{self.form.order}{count}{letter}", content)

    def replace(self, changes: Mapping[int, Sequence[int]]) -> bytes:
        """Copy the file with a directory that has only the tags of pixels, with other values for some.

        A tag without values is left out.
        """
        kept = {tag: entry for tag, entry in self.entries.items() if tag in OF_PIXELS and tag not in changes}
        changes = {tag: values for tag, values in changes.items() if values}
        start = len(self.data) + len(self.data) % 2
        extra = start + self.form.count.size + self.form.entry.size * (len(kept) + len(changes)) + self.form.place.size
        tail = b""
        for tag, values in changes.items():
            content = struct.pack(f"{self.form.order}{len(values)}I", *values)
            if len(content) > self.form.place.size:
                field = self.form.place.pack(extra + len(tail))
                tail += content
            else:
                field = content.ljust(self.form.place.size, b"\0")
            kept[tag] = (4, len(values), field)
        entries = b"".join(self.form.entry.pack(tag, *kept[tag]) for tag in sorted(kept))
        directory = self.form.count.pack(len(kept)) + entries + self.form.place.pack(0)
        head = self.data[: 8 if self.form.is_big else 4] + self.form.place.pack(start)
        return head + self.data[len(head) : start].ljust(start - len(head), b"\0") + directory + tail

    @property
    def planes(self) -> int:
        """Samples of a pixel."""
        return self.get(SAMPLES_PER_PIXEL, [1])[0]

    @property
    def bits(self) -> int:
        """Bits of the first sample."""
        return self.get(BITS_PER_SAMPLE, [1])[0]

    @property
    def is_deep_negative(self) -> bool:
        """True if 0 is white in grey of more than 8 bits, which Pillow reads as black, or not at all."""
        is_white_zero = tuple(self.get(PHOTOMETRIC)) == (WHITE_IS_ZERO,)
        is_whole = set(self.get(SAMPLE_FORMAT, [UNSIGNED])) == {UNSIGNED}
        return is_white_zero and is_whole and self.planes == 1 and self.bits in (12, 16)

    @property
    def is_cmyk(self) -> bool:
        """True if the samples are inks."""
        return tuple(self.get(PHOTOMETRIC)) == (CMYK,)

    @property
    def has_deep_planes(self) -> bool:
        """True if 16-bit colours lie in separate planes, of which Pillow reads 8 bits alone."""
        is_rgb = tuple(self.get(PHOTOMETRIC)) == (RGB,) and self.planes in (3, 4)
        is_known = is_rgb or (self.is_cmyk and self.planes == 4)
        return is_known and set(self.get(BITS_PER_SAMPLE)) == {16} and tuple(self.get(PLANAR)) == (SEPARATE,)

    def select_plane(self, plane: int) -> bytes:
        """Copy a file of separate planes as a grey one of one plane."""
        is_tiled = TILE_OFFSETS in self.entries
        places = {}
        for tag in (TILE_OFFSETS, TILE_BYTES) if is_tiled else (STRIP_OFFSETS, STRIP_BYTES):
            values = self.get(tag)
            each = len(values) // self.planes
            places[tag] = values[plane * each : (plane + 1) * each]
        grey = {BITS_PER_SAMPLE: [16], PHOTOMETRIC: [BLACK_IS_ZERO], SAMPLES_PER_PIXEL: [1], PLANAR: [1]}
        return self.replace({**grey, SAMPLE_FORMAT: [UNSIGNED], EXTRA_SAMPLES: [], **places})
