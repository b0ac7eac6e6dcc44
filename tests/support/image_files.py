"""Image files written by hand: what no library writes, and cameras, scanners and old programs do."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PNG_HEADER_BYTES = 33
"""Bytes of a PNG's signature and first chunk."""
LETTERS = {1: "B", 3: "H", 4: "I"}
"""Types of TIFF values, and their letter in struct."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk of a PNG."""
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Insert a chunk after the header of a PNG."""
    return png[:PNG_HEADER_BYTES] + chunk(kind, content) + png[PNG_HEADER_BYTES:]


def deep_png(values: np.ndarray, extra: bytes = b"") -> bytes:
    """Write 16-bit values (H, W, C) as a PNG: grey, grey and alpha, RGB or RGBA."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_with(jpeg: bytes, content: bytes, marker: int = 0xE1) -> bytes:
    """Insert a segment at the start of a JPEG."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def exif(orientation: int) -> bytes:
    """Make an EXIF block of an orientation alone."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0) + b"\0\0\0\0"


def tiff(values: np.ndarray, tags: Mapping[int, Sequence[int]], order: str = "<", *, is_planar: bool = False) -> bytes:
    """Write samples (H, W, C) as an uncompressed TIFF; tags are added to, or replace, those that its shape implies."""
    height, width, samples = values.shape
    stored = values.astype(values.dtype.newbyteorder(order))
    planes = [stored[..., each].tobytes() for each in range(samples)] if is_planar else [stored.tobytes()]
    bits = [8 * values.dtype.itemsize] * samples
    all_tags: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: bits,
        259: [1],
        262: [2 if samples > 2 else 1],
    }
    all_tags |= {277: [samples], 278: [height], 279: [len(plane) for plane in planes], 284: [2 if is_planar else 1]}
    all_tags |= tags
    for _ in range(2):  # the second time it is known where the planes begin
        place = 8 + 2 + 12 * (len(all_tags) + (273 not in all_tags)) + 4
        entries, extra = [], b""
        for tag in sorted({*all_tags, 273}):
            content = all_tags.get(tag, [0] * len(planes))
            kind = 4 if tag in (273, 279) else 3
            raw = struct.pack(f"{order}{len(content)}{LETTERS[kind]}", *content)
            if len(raw) > 4:
                raw, extra = struct.pack(f"{order}I", place + len(extra)), extra + raw
            entries.append(struct.pack(f"{order}HHI", tag, kind, len(content)) + raw.ljust(4, b"\0"))
        starts = np.cumsum([place + len(extra), *(len(plane) for plane in planes[:-1])])
        all_tags[273] = tags.get(273, starts.tolist())
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + extra + b"".join(planes)


def bmp(pixels: bytes, size: tuple[int, int], bits: int, masks: Sequence[int] = (), *, header: int = 40) -> bytes:
    """Write rows, the lowest first, as a BMP of a header of this size, by colour masks where there are some."""
    compression = 3 if masks else 0
    head = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    head += b"".join(struct.pack("<I", mask) for mask in masks)
    head = head.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels
