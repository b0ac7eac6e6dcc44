"""Decoding against pixels that are known: what an image file shows in a viewer."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from graft.images import BadImage, Decoding, decode
from tests.support.image_files import bmp, tiff
from tests.support.images import encoded, noise

if TYPE_CHECKING:
    from pathlib import Path


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of an image."""
    assert image.mode == "RGB"
    return np.asarray(image)


def opened(data: bytes, depth: int | None = None) -> Image.Image:
    """Decode a file by the newest rules."""
    return decode(data, Decoding(depth=depth))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_kinds_come_as_they_are(kind: str) -> None:
    image = noise(1)
    np.testing.assert_array_equal(pixels_of(opened(encoded(image, kind))), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_come_as_pillow_reads_them(kind: str) -> None:
    data = encoded(noise(1), kind)
    np.testing.assert_array_equal(pixels_of(opened(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("how", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("size", [(24, 20), (8, 9), (65, 33)])
def test_jpegs_come_as_pillow_reads_them_to_the_bit(size: tuple[int, int], how: dict[str, object], mode: str) -> None:
    data = encoded(noise(3, *size).convert(mode), "JPEG", **how)
    np.testing.assert_array_equal(pixels_of(opened(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_a_jpeg_in_four_colours_comes_as_pillow_reads_it() -> None:
    data = encoded(noise(3).convert("CMYK"), "JPEG")
    np.testing.assert_array_equal(pixels_of(opened(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("cut", [100, 400, 900])
def test_a_jpeg_that_ends_too_soon_is_refused(cut: int) -> None:
    data = encoded(noise(3), "JPEG")
    with pytest.raises(BadImage):
        opened(data[: len(data) - cut])


def test_real_photographs_come_as_pillow_reads_them(material: Path) -> None:
    with zipfile.ZipFile(material / "datasets/trashnet6/trashnet6.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        files = [archive.read(name) for name in names[:: len(names) // 40]]
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(pixels_of(opened(data)), np.asarray(image.convert("RGB")))


def test_grey_becomes_three_equal_channels() -> None:
    grey = noise(2).convert("L")
    np.testing.assert_array_equal(pixels_of(opened(encoded(grey))), np.asarray(grey)[..., None].repeat(3, 2))


def test_one_bit_becomes_black_and_white() -> None:
    bits = noise(2).convert("1")
    expected = np.asarray(bits)[..., None].repeat(3, 2) * np.uint8(255)
    np.testing.assert_array_equal(pixels_of(opened(encoded(bits))), expected)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    found = pixels_of(opened(encoded(Image.fromarray(deep))))
    np.testing.assert_array_equal(found[..., 0], np.arange(256).reshape(16, 16))


def test_a_palette_becomes_its_colours() -> None:
    palette = noise(3).quantize(16)
    np.testing.assert_array_equal(pixels_of(opened(encoded(palette))), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("alpha", [0, 255, 51])
def test_transparent_parts_become_white(alpha: int) -> None:
    image = noise(4)
    image.putalpha(alpha)
    colours = np.asarray(image.convert("RGB"), float)
    expected = np.round(colours * alpha / 255 + 255 * (1 - alpha / 255))
    np.testing.assert_allclose(pixels_of(opened(encoded(image))), expected, atol=1)


def test_a_transparent_palette_becomes_white_there() -> None:
    palette = noise(5).quantize(8)
    found = pixels_of(opened(encoded(palette, transparency=0)))
    assert (found[np.asarray(palette) == 0] == 255).all()


def test_transparent_grey_becomes_white() -> None:
    grey = noise(5).convert("L")
    grey.putalpha(0)
    assert grey.mode == "LA"
    assert (pixels_of(opened(encoded(grey))) == 255).all()


@pytest.mark.parametrize(
    ("mode", "key", "other"),
    [("1", 0, 255), ("L", 77, 10), ("RGB", (1, 2, 3), (3, 2, 1)), ("I;16", 0x1234, 0x1235)],
)
def test_a_colour_that_stands_for_transparency_becomes_white(
    mode: str, key: int | tuple[int, ...], other: int | tuple[int, ...]
) -> None:
    image = Image.new(mode, (16, 16), other)
    image.paste(Image.new(mode, (8, 16), key), (0, 0))
    found = pixels_of(opened(encoded(image, transparency=key)))
    plain = pixels_of(opened(encoded(image)))
    assert (found[:, :8] == 255).all()
    assert not (plain[:, :8] == 255).any()
    np.testing.assert_array_equal(found[:, 8:], plain[:, 8:])


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind)
    assert kind == "TIFF" or b"Adobe" in data, "whose CMYK is inverted"
    np.testing.assert_array_equal(pixels_of(opened(data)), np.broadcast_to([0, 255, 255], (16, 16, 3)))


def test_of_several_photographs_in_a_file_the_first_is_taken() -> None:
    data = encoded(noise(1), "MPO", save_all=True, append_images=[noise(2)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    np.testing.assert_array_equal(
        pixels_of(opened(data)), np.asarray(Image.open(io.BytesIO(encoded(noise(1), "JPEG"))))
    )


def test_sixteen_bits_are_turned_upright() -> None:
    deep = np.linspace(0, 65535, 128, dtype=np.uint16).reshape(8, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = pixels_of(opened(encoded(Image.fromarray(deep), exif=exif)))
    np.testing.assert_array_equal(found, np.rot90(pixels_of(opened(encoded(Image.fromarray(deep)))), -1))


def test_thirty_two_bits_are_taken_as_sixteen() -> None:
    wide = np.linspace(0, 65535, 256, dtype=np.int32).reshape(16, 16)
    found = pixels_of(opened(encoded(Image.fromarray(wide), "TIFF")))
    np.testing.assert_array_equal(found[..., 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = [255, 0, 0]
    upright[8:, 12:] = [0, 0, 255]
    # What the camera wrote, so that turning by the EXIF tag gives the upright image.
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright[:, ::-1], -1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(undo)), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels_of(opened(data)), upright)


def test_an_animation_gives_its_first_frame() -> None:
    first = noise(6).quantize(16)
    data = encoded(first, "GIF", save_all=True, append_images=[noise(7).quantize(16)])
    np.testing.assert_array_equal(pixels_of(opened(data)), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"hello, this is no image", "not_an_image"),
        (b"%PDF-1.4 not opened at all", "not_an_image"),
        (encoded(noise(1))[:200], "truncated"),
        (encoded(noise(1, 200, 200), "JPEG")[:3000], "truncated"),
        (encoded(noise(1), "WEBP", lossless=True)[:-200], "truncated"),
        (encoded(noise(1), "BMP")[:-200], "truncated"),
        (encoded(noise(1), "TIFF")[:-200], "truncated"),
        (encoded(Image.fromarray(np.full((16, 16), 65536, np.int32)), "TIFF"), "unreadable"),
        (encoded(Image.fromarray(np.full((16, 16), -1, np.int32)), "TIFF"), "unreadable"),
        (encoded(Image.new("F", (16, 16)), "TIFF"), "unreadable"),
        (encoded(noise(1))[:60] + b"\0" * 40 + encoded(noise(1))[100:], "unreadable"),
    ],
)
def test_every_fault_has_its_code(data: bytes, code: str) -> None:
    with pytest.raises(BadImage) as caught:
        opened(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (encoded(noise(1), "AVIF"), "AVIF"),
        (encoded(noise(1), "JPEG2000"), "JPEG 2000"),
        (encoded(noise(1), "ICO"), "ICO"),
        (encoded(noise(1), "PPM"), "PPM"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"%PDF-1.4", "PDF"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a drawing -->\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypisom", "MP4"),
        (b"\0\0\0\x18ftypavis", "AVIF"),
        (b"SIMPLE  =", "FITS"),
    ],
)
def test_a_format_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=rf"format {name}.*, which is not read") as caught:
        opened(data)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html><html><svg/>Sign in</html>", "a web page, which was saved instead of an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Run git lfs pull"),
        (b"\0<html>", "no image in a known format"),
    ],
)
def test_what_was_saved_instead_of_an_image_is_named(data: bytes, says: str) -> None:
    with pytest.raises(BadImage, match=says) as caught:
        opened(data)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize("block", [b"", b"!\xf9\4\1\0\0\xff\0"])
def test_a_gif_frame_smaller_than_its_canvas_is_on_white(block: bytes) -> None:
    frame = noise(1).quantize(16)
    data = encoded(frame, "GIF")
    place = data.index(b",\0\0\0\0")
    moved = data[:6] + b"\x30\0\x28\0" + data[10:place] + block + b",\x0a\0\x08\0" + data[place + 5 :]
    expected = Image.new("RGB", (48, 40), "white")
    expected.paste(frame.convert("RGB"), (10, 8))
    np.testing.assert_array_equal(pixels_of(opened(moved)), np.asarray(expected))


def test_a_kind_that_cannot_be_read_is_named() -> None:
    with pytest.raises(BadImage, match=r"unknown pixel mode.*PNG or JPEG") as caught:
        opened(tiff(np.zeros((16, 16, 1)), {339: [3]}))  # 64-bit floating point
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_jpeg_whose_missing_part_was_closed_by_an_end_mark_is_refused(share: float) -> None:
    data = encoded(noise(3, 64, 64), "JPEG")
    with pytest.raises(BadImage) as caught:
        opened(data[: int(len(data) * share)] + b"\xff\xd9")
    assert caught.value.code == "truncated"


ROWS = np.asarray(noise(11))[::-1, :, ::-1]
"""Pixels as a BMP has them: from the lowest row, blue first."""
ALPHA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bmp_whose_writer_left_alpha_empty_shows_its_colours(header: int) -> None:
    pixels = np.dstack([ROWS, np.zeros(ROWS.shape[:2], np.uint8)]).tobytes()
    found = pixels_of(opened(bmp(pixels, noise(11).size, 32, ALPHA, header=header)))
    np.testing.assert_array_equal(found, np.asarray(noise(11)))


def test_a_bmp_with_alpha_is_put_on_white() -> None:
    alpha = np.zeros(ROWS.shape[:2], np.uint8)
    alpha[:, :5] = 255
    found = pixels_of(opened(bmp(np.dstack([ROWS, alpha]).tobytes(), noise(11).size, 32, ALPHA, header=108)))
    np.testing.assert_array_equal(found[:, :5], np.asarray(noise(11))[:, :5])
    assert (found[:, 5:] == 255).all()


@pytest.mark.parametrize(
    ("masks", "bits"), [((0xF800, 0x7E0, 0x1F), (5, 6, 5)), ((0x7C00, 0x3E0, 0x1F), (5, 5, 5)), ((), (5, 5, 5))]
)
def test_a_bmp_of_16_bits_a_pixel_has_the_nearest_colours(masks: tuple[int, ...], bits: tuple[int, int, int]) -> None:
    kept = [
        channel.astype(np.uint16) >> 8 - each for channel, each in zip(ROWS.transpose(2, 0, 1)[::-1], bits, strict=True)
    ]
    joined = kept[0] << bits[1] + bits[2] | kept[1] << bits[2] | kept[2]
    found = pixels_of(opened(bmp(joined.astype("<u2").tobytes(), noise(11).size, 16, masks)))
    expected = np.stack([channel[::-1] * 255 / (2**each - 1) for channel, each in zip(kept, bits, strict=True)], -1)
    np.testing.assert_allclose(found, expected, atol=1)
