"""BMP: any colour masks give the colours that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from graft.images import Decoding, decode
from graft.images.bmp import with_known_masks
from tests.support.image_files import bmp
from tests.support.images import encoded, noise

IMAGE = noise(5, 25, 20)
COLOURS = np.asarray(IMAGE)


def packed(masks: tuple[int, ...], kind: str) -> bytes:
    """Rows of pixels in which each channel fills its mask."""
    pixels = np.zeros(COLOURS.shape[:2], np.uint64)
    channels = [*COLOURS.transpose(2, 0, 1), np.full(COLOURS.shape[:2], 255, np.uint8)]
    for channel, mask in zip(channels, masks, strict=False):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            pixels |= np.round(channel / 255 * (mask >> shift)).astype(np.uint64) << np.uint64(shift)
    rows = pixels[::-1].astype(kind)
    padding = -rows.shape[1] * rows.itemsize % 4 // rows.itemsize
    return np.pad(rows, ((0, 0), (0, padding))).tobytes()


@pytest.mark.parametrize(
    ("masks", "kind", "tolerance"),
    [
        ((0xF00, 0xF0, 0xF, 0xF000), "<u2", 9),
        ((0xE0, 0x1C, 0x3, 0), "<u2", 43),
        ((0x3FF00000, 0xFFC00, 0x3FF, 0), "<u4", 1),
        ((0xFF, 0xFF00, 0xFF0000, 0), "<u4", 0),
        ((0xFF0000, 0xFF00, 0xFF, 0xFF000000), "<u4", 0),
    ],
)
def test_any_masks_are_read(masks: tuple[int, ...], kind: str, tolerance: int) -> None:
    data = bmp(packed(masks, kind), IMAGE.size, np.dtype(kind).itemsize * 8, masks, header=56)
    np.testing.assert_allclose(np.asarray(decode(data, Decoding())).astype(int), COLOURS, atol=tolerance)
    alphabitfields = data[:30] + b"\6" + data[31:]
    np.testing.assert_array_equal(np.asarray(decode(alphabitfields, Decoding())), np.asarray(decode(data, Decoding())))


def test_a_bmp_from_the_top_down_stays_so() -> None:
    masks = (0xFF, 0xFF00, 0xFF0000, 0)
    rows = np.frombuffer(packed(masks, "<u4"), "<u4").reshape(20, 25)[::-1].tobytes()
    data = bmp(rows, (25, -20), 32, masks, header=56)
    np.testing.assert_array_equal(np.asarray(decode(data, Decoding())), COLOURS)


def test_a_bmp_without_masks_is_not_copied() -> None:
    for data in (encoded(IMAGE, "BMP"), b"BM", encoded(IMAGE)):
        assert with_known_masks(data) is None
