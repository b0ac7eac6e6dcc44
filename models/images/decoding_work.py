"""Limits on the work that a file may cause, checked before it is decoded: a few kilobytes can keep a core for hours."""

from __future__ import annotations

import re
import struct
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from graft.images import BadImage
from graft.images.repair import GIF, JPEG, PNG, RIFF
from graft.images.tiff import COMPRESSION, MAGIC, OF_PIXELS, STRIP_OFFSETS, TILE_OFFSETS, Directory, NotTiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SCANS = 1000
"""Most scans of a JPEG; encoders write about ten."""
MAX_SCANNED_PIXELS = 1_000_000_000
"""Most pixels of a JPEG times its scans: each scan goes over all pixels."""
MAX_PARTS = 200_000
"""Most strips or tiles of a TIFF, chunks of a PNG, and segments or blocks before the pixels of a JPEG or a GIF."""
MAX_JPEG_PARTS = 10_000
"""Most strips or tiles of a TIFF that are JPEGs, each of which may have many scans."""
MAX_RUN_BYTES = 16 << 20
"""Most bytes of a run-length encoded BMP, which Pillow decodes in Python."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
FEW_SCANS = 20
"""Scans that need no exact count."""
WITHOUT_CONTENT = (0x01, 0xD8)
MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""A marker of a JPEG other than those inside a scan."""
RUN_LENGTH = (1, 2)
"""Compressions of a BMP."""
JPEG_COMPRESSIONS = ((6,), (7,))
"""Compressions of a TIFF."""


def check_work(data: bytes, check_size: Callable[[int, int], None]) -> None:
    """Check the work before a file is opened; `check_size` raises if width or height are out of range.

    Raises BadImage.
    """
    if data.startswith(RIFF):
        # Its reader takes memory for the canvas when it opens the file.
        size = _get_canvas(data)
        if size is not None:
            check_size(*size)
    elif data[:4] in MAGIC:
        _check_directory(data)
    elif data.startswith(b"BM") and len(data) > MAX_RUN_BYTES and data[30:34] in map(_encode, RUN_LENGTH):
        raise BadImage("too_many_parts", "A run-length encoded BMP of more than 16 MiB. Save it again as PNG.")
    elif any(data.startswith(magic) and has_many(data) for magic, has_many in COUNTERS.items()):
        raise _refuse_parts()


def count_scans(data: bytes) -> int:
    """Count the scans of a JPEG, as far as MAX_SCANS + 1; 0 for other files."""
    if not data.startswith(JPEG):
        return 0
    most = data.count(bytes((0xFF, START_OF_SCAN)))  # in thumbnails too
    if most <= FEW_SCANS:
        return most
    scans = (marker for marker in _iterate_markers(data) if marker == START_OF_SCAN)
    return sum(1 for _ in islice(scans, MAX_SCANS + 1))


def check_scans(scans: int, pixels: int) -> None:
    """Check the scans of a JPEG; raises BadImage."""
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
        raise BadImage(
            "too_many_scans",
            f"A JPEG of {pixels / 1e6:.1f} megapixels in {min(scans, MAX_SCANS)} scans or more takes too long to "
            "decode. Save it again.",
        )


def _iterate_markers(data: bytes) -> Iterator[int]:
    """Iterate over the markers of a JPEG's first image."""
    place = 2
    while found := MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        yield marker
        if marker == END_OF_IMAGE:
            break
        if marker not in WITHOUT_CONTENT:
            place += max(2, int.from_bytes(data[place : place + 2], "big"))


def _has_many_segments(data: bytes) -> bool:
    """Tell whether a JPEG has more segments than MAX_PARTS before its first scan."""
    before = takewhile(lambda marker: marker != START_OF_SCAN, _iterate_markers(data))
    return next(islice(before, MAX_PARTS, None), None) is not None


def _encode(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _get_canvas(data: bytes) -> tuple[int, int] | None:
    """Get width and height of a WebP from its header."""
    kind, body = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _check_directory(data: bytes) -> None:
    try:
        directory = Directory.read(data)
    except NotTiff:
        return
    is_jpeg = tuple(directory.get(COMPRESSION)) in JPEG_COMPRESSIONS
    parts = max(directory.count(STRIP_OFFSETS), directory.count(TILE_OFFSETS))
    if (is_jpeg and parts > MAX_JPEG_PARTS) or any(
        directory.count(tag) > MAX_PARTS for tag in OF_PIXELS if directory.is_whole_numbers(tag)
    ):
        raise _refuse_parts()


def _has_many_chunks(data: bytes) -> bool:
    """Tell whether a PNG has more chunks than MAX_PARTS."""
    place, chunks = len(PNG), 0
    if len(data) < 12 * MAX_PARTS:
        return False
    while place + 8 <= len(data) and chunks <= MAX_PARTS:
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        chunks += 1
    return chunks > MAX_PARTS


def _has_many_blocks(data: bytes) -> bool:
    """Tell whether a GIF has more blocks than MAX_PARTS before its first frame."""
    if len(data) < 2 * MAX_PARTS:
        return False
    place, blocks = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0), 0
    while data[place : place + 1] == b"!" and blocks <= MAX_PARTS:
        place += 2
        while (size := int.from_bytes(data[place : place + 1])) and blocks <= MAX_PARTS:
            place += 1 + size
            blocks += 1
        place += 1
        blocks += 1
    return blocks > MAX_PARTS


COUNTERS = {JPEG: _has_many_segments, PNG: _has_many_chunks, GIF: _has_many_blocks}
"""By a file's first bytes, what tells whether it has too many parts."""


def _refuse_parts() -> BadImage:
    return BadImage(
        "too_many_parts",
        f"A file of more than {MAX_PARTS:,} strips, tiles, chunks or segments takes too long to decode. Save it again.",
    )
