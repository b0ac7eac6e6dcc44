"""Metadata never costs an image: what its pixels need is there, so it opens as if the rest were right."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from graft.images import BadImage, Decoding, decode
from graft.images.repair import read_orientation, without_metadata, write_orientation
from tests.support.image_files import chunk, exif, jpeg_with, png_with
from tests.support.images import encoded, noise

IMAGE = noise(1, 48, 32)
COLOURS = np.asarray(IMAGE)
TURNED = np.rot90(COLOURS, -1)
PNG = encoded(IMAGE)
JPEG = encoded(IMAGE, "JPEG", quality=95)
SHOWN = np.asarray(decode(JPEG, Decoding()))
WEBP = encoded(IMAGE, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(6), xmp=b"x" * 50)
PALETTE = IMAGE.quantize(16)
GIF = encoded(PALETTE, "GIF")
BOMB = b"prompt\0\0" + zlib.compress(bytes(3_000_000))
XMP = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'


def opened(data: bytes) -> np.ndarray:
    """Decode a file."""
    return np.asarray(decode(data, Decoding()))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"eXIf", b"nonsense"),
        (b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000))),
        (b"iCCP", b"icc\0\7 no such method"),
        (b"zTXt", BOMB),
        (b"zTXt", b"key\0\0not compressed"),
        (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"x" * 1_200_000)),
        (b"tRNS", b"\0"),
        *((kind, b"") for kind in (b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB")),
        *((kind, b"\0") for kind in (b"acTL", b"fcTL", b"tIME", b"sBIT", b"bKGD", b"pHYs", b"cHRM", b"gAMA")),
    ],
)
def test_no_chunk_of_a_png_costs_it(kind: bytes, content: bytes) -> None:
    np.testing.assert_array_equal(opened(png_with(PNG, kind, content)), COLOURS)
    with_orientation = png_with(png_with(PNG, kind, content), b"eXIf", exif(6))
    np.testing.assert_array_equal(opened(with_orientation), TURNED if kind != b"eXIf" else opened(with_orientation))


def test_a_transparency_of_the_wrong_length_is_ignored() -> None:
    shown = np.asarray(PALETTE.convert("RGB"))
    palette = encoded(PALETTE)
    place = palette.index(b"IDAT") - 4
    np.testing.assert_array_equal(opened(palette[:place] + chunk(b"tRNS", bytes(300)) + palette[place:]), shown)
    grey = encoded(IMAGE.convert("L"))
    np.testing.assert_array_equal(opened(png_with(grey, b"tRNS", b"\0")), opened(grey))


def test_a_wrong_checksum_of_metadata_costs_no_png() -> None:
    wrong = chunk(b"tEXt", b"key\0value")[:-1] + b"?"
    np.testing.assert_array_equal(opened(PNG[:33] + wrong + PNG[33:]), COLOURS)
    with pytest.raises(BadImage):
        opened(PNG[:29] + b"????" + PNG[33:])


def test_orientation_stands_wherever_a_png_has_it() -> None:
    np.testing.assert_array_equal(opened(PNG[:-12] + chunk(b"eXIf", exif(6)) + PNG[-12:]), TURNED)
    xmp = png_with(PNG, b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    np.testing.assert_array_equal(opened(xmp), TURNED)
    np.testing.assert_array_equal(opened(png_with(xmp, b"zTXt", BOMB)), TURNED)


@pytest.mark.parametrize("cut", [1, 4, 12, 14])
def test_a_png_needs_no_end_mark(cut: int) -> None:
    np.testing.assert_array_equal(opened(PNG[:-cut]), COLOURS)


@pytest.mark.parametrize(
    ("content", "marker"),
    [
        (b"Exif\0\0", 0xE1),
        (b"Exif\0\0" + b"nonsense" * 4, 0xE1),
        (b"Exif\0\0" + exif(1)[:15], 0xE1),
        (b"Exif\0\0II*\0\xff\xff\xff\x7f", 0xE1),
        (b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30_000), 0xE1),
        (b"http://ns.adobe.com/xap/1.0/\0<x", 0xE1),
        (b"ICC_PROFILE\0", 0xE2),
        (b"ICC_PROFILE\0\5\1", 0xE2),
        (b"MPF\0nonsense", 0xE2),
        (b"MPF\0II*\0\x08\0\0\0\x01\0", 0xE2),
        (b"Photoshop 3.0\0008BIM\3\355\0\0\0\0\0\1", 0xED),
        (b"Adobe", 0xEE),
        (b"JFIF\0", 0xE0),
        (b"", 0xFE),
    ],
)
def test_no_segment_of_a_jpeg_costs_it(content: bytes, marker: int) -> None:
    data = jpeg_with(JPEG, content, marker)
    np.testing.assert_array_equal(opened(data), SHOWN)
    if not content.startswith(b"Exif"):
        np.testing.assert_array_equal(opened(jpeg_with(data, b"Exif\0\0" + exif(6))), np.rot90(SHOWN, -1))
    np.testing.assert_array_equal(opened(data[:-2]), SHOWN)


def test_a_jpeg_without_a_scan_is_refused() -> None:
    with pytest.raises(BadImage) as caught:
        opened(JPEG[: JPEG.index(b"\xff\xda")])
    assert caught.value.code == "truncated"


def test_a_wrong_length_of_a_segment_costs_no_jpeg() -> None:
    for segment in (b"\xff\xe1\0\0", b"\xff\xe1\0\x08ab", b"\xff\xe1\0\4ab\0junk\0", b"\xff\xff\xff\xe1\0\2"):
        np.testing.assert_array_equal(opened(JPEG[:2] + segment + JPEG[2:]), SHOWN)


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_needs_no_end_mark_but_all_its_pixels(how: dict[str, object], mode: str) -> None:
    data = encoded(IMAGE.convert(mode), "JPEG", quality=95, **how)
    for turned in (data, jpeg_with(data, b"Exif\0\0" + exif(6)), jpeg_with(data, XMP)):
        np.testing.assert_array_equal(opened(turned[:-2]), opened(turned))
        np.testing.assert_array_equal(opened(turned + b"\0" * 5000), opened(turned))
        for part in (turned[: len(data) // 2], turned[: len(data) // 2] + b"\xff\xd9"):
            with pytest.raises(BadImage) as caught:
                opened(part)
            assert caught.value.code == "truncated"


def test_a_cut_second_image_costs_the_first_nothing() -> None:
    both = encoded(IMAGE, "MPO", save_all=True, append_images=[noise(2, 48, 32)], quality=95)
    np.testing.assert_array_equal(opened(both[: len(both) * 3 // 4]), SHOWN)


def test_no_chunk_of_a_webp_costs_it() -> None:
    np.testing.assert_array_equal(opened(WEBP), TURNED)
    np.testing.assert_array_equal(opened(WEBP[:-20]), TURNED)
    np.testing.assert_array_equal(opened(WEBP + b"junk!"), TURNED)
    wrong_length = WEBP[:4] + struct.pack("<I", len(WEBP) + 100) + WEBP[8:]
    np.testing.assert_array_equal(opened(wrong_length), TURNED)
    np.testing.assert_array_equal(opened(encoded(IMAGE, "WEBP", lossless=True, exif=b"nonsense")), COLOURS)


def test_an_animated_webp_whose_later_frames_are_cut_gives_its_first() -> None:
    data = encoded(IMAGE, "WEBP", lossless=True, save_all=True, append_images=[noise(2, 48, 32)])
    np.testing.assert_array_equal(opened(data[:-100]), COLOURS)


@pytest.mark.parametrize(
    "block", [b"!\xff\0", b"!\xf9\1\1\0", b"!\xff\x0bNETSCAPE2.0\1\1\0", b"!\xfe\0", b"!\x99\2ab\0"]
)
def test_no_block_of_a_gif_costs_it(block: bytes) -> None:
    place = GIF.index(b",\0\0\0\0")
    np.testing.assert_array_equal(opened(GIF[:place] + block + GIF[place:]), np.asarray(PALETTE.convert("RGB")))
    np.testing.assert_array_equal(opened(GIF[:-1]), np.asarray(PALETTE.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_and_written(orientation: int) -> None:
    assert read_orientation(write_orientation(orientation)) == orientation
    assert read_orientation(b'<x tiff:Orientation="%d"/>' % orientation) == orientation
    assert read_orientation(b"<tiff:Orientation>%d</tiff:Orientation>" % orientation) == orientation


@pytest.mark.parametrize("block", [b"", b"nonsense", exif(0), exif(9), exif(6)[:12], b'tiff:Orientation="60"'])
def test_an_orientation_that_cannot_be_told_is_upright(block: bytes) -> None:
    assert read_orientation(block) == 1


def test_unknown_files_are_not_copied() -> None:
    for data in (b"hello", b"RIFF\0\0\0\0WAVE", b"GIF8", encoded(IMAGE, "BMP")):
        assert without_metadata(data) is None
