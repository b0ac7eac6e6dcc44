"""Depth: whatever part of 16 bits a file's values fill, they become the 8-bit values that they were made from."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from graft.images import DEPTHS, Decoding, DeepImage, decode, read_image
from models.images.decode import check
from tests.support.image_files import chunk, deep_png, exif, tiff
from tests.support.images import encoded, noise

COLOURS = np.asarray(noise(1))
GREY = np.asarray(noise(2).convert("L"))
ON_WHITE = COLOURS.copy()
ON_WHITE[:, :6] = 255
OPACITY = np.full(GREY.shape, 255, np.uint8)
OPACITY[:, :6] = 0


def widen(values: np.ndarray, depth: int) -> np.ndarray:
    """Widen 8-bit values to `depth` bits: by random bits, which are dropped again."""
    random = np.random.default_rng(3).integers(0, 1 << depth - 8, values.shape)
    widened = (values.astype(np.uint16) << depth - 8) + random.astype(np.uint16)
    widened[0, 0] = (1 << depth) - 1  # so that no smaller depth holds them
    return widened


def lossless(data: bytes) -> DeepImage:
    """Read a file that has more than 8 bits."""
    image = read_image(data)
    assert isinstance(image, DeepImage)
    return image


def reduced(data: bytes) -> np.ndarray:
    """Decode a file by its own depth."""
    return np.asarray(decode(data, Decoding(depth=lossless(data).depth)))


def expected(values: np.ndarray) -> np.ndarray:
    """The 8-bit values (H, W, 3) that were widened."""
    values = values.copy()
    values[0, 0] = 255
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, 2)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_planar", [False, True])
def test_inks_of_every_depth_come_back(depth: int, order: str, is_planar: bool) -> None:
    inks = np.asarray(noise(4).convert("CMYK")).copy()
    data = tiff(widen(inks, depth), {262: [5]}, order, is_planar=is_planar)
    inks[0, 0] = 255
    np.testing.assert_array_equal(reduced(data), Image.frombytes("CMYK", noise(4).size, inks.tobytes()).convert("RGB"))


@pytest.mark.parametrize("depth", [10, 12, 14, 16])
def test_grey_of_which_0_is_white_is_inverted_by_its_depth(depth: int) -> None:
    data = tiff(widen(GREY, depth)[..., None], {262: [0]})
    np.testing.assert_array_equal(reduced(data), 255 - expected(GREY))
    assert check(data).digest != check(tiff(widen(GREY, depth)[..., None], {})).digest


@pytest.mark.parametrize("depth", DEPTHS)
def test_grey_and_colours_of_every_depth_come_back(depth: int) -> None:
    grey, colours = widen(GREY, depth), widen(COLOURS, depth)
    files = {
        "grey": [encoded(Image.fromarray(grey)), tiff(grey[..., None], {}), tiff(grey[..., None], {}, ">")],
        "colours": [
            deep_png(colours),
            tiff(colours, {}),
            tiff(colours, {}, ">"),
            tiff(colours, {}, is_planar=True),
            tiff(np.dstack([colours, grey]), {338: [0]}),
        ],
    }
    for name, values in (("grey", GREY), ("colours", COLOURS)):
        for data in files[name]:
            assert lossless(data).depth == depth
            np.testing.assert_array_equal(reduced(data), expected(values))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_grey_comes_back(compression: str) -> None:
    data = encoded(Image.fromarray(widen(GREY, 12)), "TIFF", compression=compression)
    np.testing.assert_array_equal(reduced(data), expected(GREY))


def test_no_bit_is_lost() -> None:
    colours = widen(COLOURS, 16)
    for data in (deep_png(colours), tiff(colours, {}), tiff(colours, {}, is_planar=True)):
        np.testing.assert_array_equal(lossless(data).values, colours)


@pytest.mark.parametrize("depth", [12, 16])
def test_transparent_parts_become_white(depth: int) -> None:
    alpha = widen(OPACITY, depth)
    alpha[:, :6] = 0
    colours = widen(COLOURS, depth)
    straight = np.dstack([colours, alpha])
    for data in (deep_png(straight), tiff(straight, {338: [2]}), tiff(straight, {338: [2]}, is_planar=True)):
        np.testing.assert_allclose(reduced(data)[:, 6:], expected(ON_WHITE)[:, 6:], atol=1)
        assert (reduced(data)[:, :6] == 255).all()
    grey = np.asarray(decode(deep_png(np.dstack([widen(GREY, depth), alpha])), Decoding(depth=depth)))
    np.testing.assert_allclose(grey[:, 6:, 0], GREY[:, 6:], atol=1)
    assert (grey[:, :6] == 255).all()


def test_colours_that_were_multiplied_by_their_opacity_are_divided() -> None:
    alpha = np.full(GREY.shape, 0x8000, np.uint16)
    alpha[0, 0] = 0xFFFF
    colours = COLOURS.astype(np.uint16) * 257
    multiplied = (colours.astype(np.uint32) * alpha[..., None] // 0xFFFF).astype(np.uint16)
    straight = reduced(tiff(np.dstack([colours, alpha]), {338: [2]}))
    np.testing.assert_allclose(reduced(tiff(np.dstack([multiplied, alpha]), {338: [1]})), straight, atol=1)


def test_a_colour_that_stands_for_transparency_becomes_white() -> None:
    colours = widen(COLOURS, 16)
    colours[3, 4] = (1, 2, 3)
    found = reduced(deep_png(colours, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    assert found[3, 4].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(found[5:], COLOURS[5:])


def test_what_is_transparent_does_not_count_for_the_depth() -> None:
    values = widen(GREY, 10)
    values[0, 0] = 0xFFFF  # no data
    assert lossless(encoded(Image.fromarray(values), transparency=0xFFFF)).depth == 10


UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""What turns pixels upright, by their orientation."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_deep_images_stand_upright(orientation: int) -> None:
    colours = widen(COLOURS, 16)
    upright = UPRIGHT[orientation](expected(COLOURS))
    np.testing.assert_array_equal(reduced(deep_png(colours, chunk(b"eXIf", exif(orientation)))), upright)
    for is_planar in (False, True):
        np.testing.assert_array_equal(reduced(tiff(colours, {274: [orientation]}, is_planar=is_planar)), upright)


def test_a_greater_value_than_the_depth_holds_is_white() -> None:
    values = np.full((8, 8), 5000, np.uint16)
    assert (np.asarray(decode(encoded(Image.fromarray(values)), Decoding(depth=12))) == 255).all()


def test_bands_are_the_image() -> None:
    image = DeepImage(np.arange(3000 * 900, dtype=np.uint16).reshape(3000, 900), None)
    bands = list(image.split_bands())
    assert len(bands) > 1
    np.testing.assert_array_equal(np.concatenate([band.values for band in bands]), image.values)
