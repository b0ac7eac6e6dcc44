"""Copies of image files without their metadata: an image whose pixels are all there is good, whatever else is broken.

What stays is what pixels depend on, and the orientation. A mark that ends the file is added where it is missing.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

import simplejpeg
from PIL import ExifTags, Image

from graft.images import tiff
from graft.images.bmp import with_known_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PNG, RIFF, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8", b"GIF8", b"BM"
EXIF = b"Exif\0\0"
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SCAN = b"\xff\xda"
SOS, APP0, APP1, APP14, COMMENT = 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
MIN_APP_BYTES = 16
"""Bytes of an application segment that says how colours are stored, of JFIF or Adobe; a shorter one is broken."""
FOUR_COLOURS = 4
GIF_HEADER_BYTES = 13
GRAPHIC_CONTROL = b"\xf9\x04"
"""Label and length of the GIF block that names the transparent colour."""
TRANSPARENCY_BYTES = {0: (2,), 2: (6,), 3: range(257)}
"""Lengths that a PNG's tRNS chunk may have, by its colour type: grey, RGB or palette."""
XMP_ADDRESS, XMP_KEYWORD = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0"
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])[^0-9]')


class PixelsMissing(Exception):
    """The file ends before the image does."""


def without_metadata(data: bytes) -> bytes | None:
    """Copy a file without its metadata but for the orientation; None if it is of no kind that is known.

    Raises PixelsMissing.
    """
    for magic, copy in COPIES.items():
        if data.startswith(magic):
            return copy(data)
    return None


def read_orientation(metadata: bytes) -> int:
    """Read the orientation of an EXIF or XMP block: 1 to 8, where 1 is upright, or cannot be told."""
    written = XMP_ORIENTATION.search(metadata)
    if written:
        return int(written[1])
    try:
        found = Image.Exif()
        found.load(metadata)
        orientation = found.get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers may raise any error on a broken block
        return 1
    return orientation if orientation in range(1, 9) else 1


def write_orientation(orientation: int) -> bytes:
    """Write an EXIF block of the orientation alone."""
    entry = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def _list_png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """List a PNG's chunks: kind, content, and whether its checksum is right."""
    place = len(PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        yield kind, content, checksum == struct.pack(">I", zlib.crc32(kind + content))
        if kind == b"IEND":
            break
        place += 12 + length


def _copy_png(data: bytes) -> bytes:
    chunks, orientation, colour_type = [], 1, -1
    for kind, content, is_right in _list_png_chunks(data):
        if kind == b"IHDR":
            colour_type = int.from_bytes(content[9:10], "big")
        if (kind == b"eXIf" or content.startswith(XMP_KEYWORD)) and orientation == 1:
            orientation = read_orientation(content)
        elif kind == b"tRNS" and len(content) not in TRANSPARENCY_BYTES.get(colour_type, ()):
            continue
        elif kind == b"IDAT" or (is_right and kind in (b"IHDR", b"PLTE", b"tRNS")):
            chunks.append((kind, content))
    chunks[1:1] = [(b"eXIf", write_orientation(orientation))]
    return PNG + b"".join(
        struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (*chunks, (b"IEND", b""))
    )


def _copy_jpeg(data: bytes) -> bytes:
    """Copy a JPEG without application segments and comments; raises PixelsMissing."""
    segments, orientation, colours, place = [], 1, 0, 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == SOS:
            break
        if marker in (0, 1, 0xFF) or 0xD0 <= marker <= 0xD9:  # padding, or markers without content
            place += 1 if marker == 0xFF else 2
            continue
        segment = data[place : place + 2 + length]
        if marker == APP1 and segment[4:].startswith((EXIF, XMP_ADDRESS)) and orientation == 1:
            orientation = read_orientation(segment[4:])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            colours = int.from_bytes(segment[9:10], "big")
        is_short = marker in (APP0, APP14) and len(segment) < MIN_APP_BYTES
        if marker not in range(APP1, APP14) and marker not in (APP14 + 1, COMMENT) and not is_short:
            segments.append(segment)
        place += 2 + length
    exif = EXIF + write_orientation(orientation)
    segments.insert(0, struct.pack(">HH", 0xFF00 + APP1, len(exif) + 2) + exif)
    if data[place : place + 2] != SCAN:
        raise PixelsMissing
    copy = SOI + b"".join(segments) + data[place:] + EOI
    _check_complete(copy, colours)
    return copy


def _check_complete(jpeg: bytes, colours: int) -> None:
    """Check that no part of a JPEG's last scan is missing; raises PixelsMissing."""
    try:
        simplejpeg.decode_jpeg(jpeg, "CMYK" if colours == FOUR_COLOURS else "RGB")
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise PixelsMissing from error


def _copy_webp(data: bytes) -> bytes | None:
    """Copy a WebP's first frame, or an animation's frames, without ICC, EXIF and XMP."""
    chunks: dict[bytes, bytes] = {}
    place, orientation = 12, 1
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        content = data[place + 8 : place + 8 + length]
        if kind in (b"EXIF", b"XMP ") and orientation == 1:
            orientation = read_orientation(content)
        if len(content) == length and kind in (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"):
            chunks.setdefault(kind, content)
        place += 8 + length + length % 2
    if not chunks.keys() & {b"VP8 ", b"VP8L", b"ANMF"}:
        return None
    if b"VP8X" in chunks:
        flags = chunks[b"VP8X"][0] & (0x10 | 0x02)  # alpha and animation
        chunks[b"VP8X"] = bytes([flags | 0x08]) + chunks[b"VP8X"][1:]
        chunks[b"EXIF"] = EXIF + write_orientation(orientation)
    order = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L", b"EXIF")
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(chunks[kind])) + chunks[kind] + bytes(len(chunks[kind]) % 2)
        for kind in order
        if kind in chunks
    )
    return RIFF + struct.pack("<I", len(body)) + body


def _copy_gif(data: bytes) -> bytes | None:
    """Copy a GIF without comments and applications' blocks before its first frame."""
    if len(data) < GIF_HEADER_BYTES:
        return None
    place = GIF_HEADER_BYTES + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    parts = [data[:place]]
    while data[place : place + 1] == b"!":
        end = place + 2
        while length := int.from_bytes(data[end : end + 1], "big"):
            end += 1 + length
        if data[place + 1 : place + 3] == GRAPHIC_CONTROL:
            parts.append(data[place : end + 1])
        place = end + 1
    return b"".join((*parts, data[place:]))


def _copy_tiff(data: bytes) -> bytes | None:
    try:
        return tiff.Directory.read(data).replace({})
    except tiff.NotTiff:
        return None


COPIES: dict[bytes, Callable[[bytes], bytes | None]] = {
    PNG: _copy_png,
    JPEG: _copy_jpeg,
    RIFF: _copy_webp,
    GIF: _copy_gif,
    BMP: with_known_masks,
    **dict.fromkeys(tiff.MAGIC, _copy_tiff),
}
"""By a file's first bytes, what copies it without its metadata."""
