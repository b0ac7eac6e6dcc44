"""Say what a file is that lies where an image is expected, and what to do: other formats, web pages, pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER_FORMATS = (
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *((4, brand, "MP4 or another of videos") for brand in (b"ftyp", b"moov")),
    (8, b"AVI ", "AVI, of videos"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"P5", "PGM"),
    (0, b"P6", "PPM"),
    *((0, magic, "PNM") for magic in (b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P7\n")),
    (128, b"DICM", "DICOM"),
)
"""Formats that people have and that are not read: place and start of what tells them, and their name."""
TEXT_BYTES = 4096
"""First bytes of a file in which the words of a text are looked for."""
WEB_PAGE = "The file is a web page, which was saved instead of an image. Download the image again."
NOT_IMAGES = {
    b"<html": WEB_PAGE,
    b"<!doctype html": WEB_PAGE,
    b"<svg": "The file is in the format SVG, which is not read. Convert it to PNG.",
    b"version https://git-lfs": "The file is a pointer of Git LFS, not the image. Run git lfs pull, and pack it again.",
}
"""Words in texts that lie where an image is expected, and what to do."""


def describe_unknown(data: bytes, formats: Sequence[str]) -> str:
    """Say what a file is that is in none of these formats, and what to do."""
    listed = ", ".join(formats)
    for place, start, name in OTHER_FORMATS:
        if data.startswith(start, place):
            return f"The file is in the format {name}, which is not read. Convert it to one of {listed}."
    text = data[:TEXT_BYTES].lower()
    if b"\0" not in text:
        for words, message in NOT_IMAGES.items():
            if words in text:
                return message
    return f"The file is no image in a known format ({listed}). Convert it to one of them."
