"""TIFF: shown as viewers show it, where Pillow does not."""

from __future__ import annotations

import numpy as np
import pytest

from graft.images import Decoding, decode
from graft.images.tiff import Directory, NotTiff
from tests.support.image_files import tiff
from tests.support.images import encoded, noise

COLOURS = np.asarray(noise(1))
GREY = np.asarray(noise(2).convert("L"))
EMPTY = np.zeros(GREY.shape, np.uint8)
HALF = np.full(GREY.shape, 255, np.uint8)
HALF[:, :6] = 0
ON_WHITE = COLOURS.copy()
ON_WHITE[:, :6] = 255


def opened(data: bytes) -> np.ndarray:
    """Decode a file."""
    return np.asarray(decode(data, Decoding()))


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """Repeat grey as three channels."""
    return np.repeat(grey[..., None], 3, 2)


@pytest.mark.parametrize("extra", [[0], [1], [2], None])
def test_an_alpha_that_was_left_empty_is_none(extra: list[int] | None) -> None:
    tags = {} if extra is None else {338: extra}
    np.testing.assert_array_equal(opened(tiff(np.dstack([COLOURS, EMPTY]), tags)), COLOURS)
    deep = np.dstack([COLOURS, EMPTY]).astype(np.uint16) * 257
    np.testing.assert_array_equal(opened(tiff(deep, tags)), COLOURS)
    if extra is not None:
        np.testing.assert_array_equal(opened(tiff(np.dstack([GREY, EMPTY]), tags)), as_rgb(GREY))


def test_a_fourth_channel_is_alpha_only_if_it_says_so() -> None:
    np.testing.assert_array_equal(opened(tiff(np.dstack([COLOURS, HALF]), {338: [2]})), ON_WHITE)
    np.testing.assert_array_equal(opened(tiff(np.dstack([COLOURS, HALF]), {338: [0]})), COLOURS)
    multiplied = np.where(HALF[..., None] == 0, 0, COLOURS).astype(np.uint8)
    np.testing.assert_array_equal(opened(tiff(np.dstack([multiplied, HALF]), {338: [1]})), ON_WHITE)


@pytest.mark.parametrize("order", ["<", ">"])
def test_zero_may_be_white(order: str) -> None:
    np.testing.assert_array_equal(opened(tiff(255 - GREY[..., None], {262: [0]}, order)), as_rgb(GREY))
    deep = 65535 - GREY[..., None].astype(np.uint16) * 257
    np.testing.assert_array_equal(opened(tiff(deep, {262: [0]}, order)), as_rgb(GREY))


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_a_palette_may_be_written_in_8_bits(factor: int) -> None:
    indices = (GREY // 16)[..., None]
    palette = np.random.default_rng(4).integers(0, 256, (16, 3))
    colour_map = np.zeros((3, 256), int)
    colour_map[:, :16] = palette.T * factor
    found = opened(tiff(indices, {262: [3], 320: colour_map.ravel().tolist()}))
    np.testing.assert_array_equal(found, palette[indices[..., 0]])


@pytest.mark.parametrize("broken", [{34665: [9999]}, {34853: [3]}, {700: [1] * 40}, {34675: [7] * 40}])
def test_metadata_costs_no_image(broken: dict[int, list[int]]) -> None:
    np.testing.assert_array_equal(opened(tiff(COLOURS, {274: [6], **broken})), np.rot90(COLOURS, -1))


def test_a_directory_is_read_and_replaced() -> None:
    directory = Directory.read(tiff(COLOURS, {700: [1] * 40}))
    assert directory.get(256) == (24,)
    assert directory.get(258) == (8, 8, 8)
    assert directory.get(9999, [7]) == [7]
    copy = Directory.read(directory.replace({258: [8, 8, 16], 284: []}))
    assert copy.get(258) == (8, 8, 16)
    assert copy.count(700) == copy.count(284) == 0
    np.testing.assert_array_equal(opened(directory.replace({})), COLOURS)


@pytest.mark.parametrize("data", [b"", encoded(noise(1)), b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\xff\xff"])
def test_other_files_have_no_directory(data: bytes) -> None:
    with pytest.raises(NotTiff):
        Directory.read(data)
