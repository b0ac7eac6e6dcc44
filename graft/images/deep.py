"""Images of more than 8 bits a channel: read without loss, and reduced to 8 bits by the depth of their dataset."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a channel that a dataset may use; cameras, scanners and microscopes keep 10 to 14 bits in 16-bit files."""
FULL_DEPTH = DEPTHS[-1]
BAND_PIXELS = 1 << 20
"""Pixels of a large image that are converted at once: bounds memory."""
OTHER_BYTE = {"L": "B", "B": "L", "N": "B"}
"""How to unpack the low bytes of 16-bit samples with Pillow, which keeps only the high bytes: as if swapped."""


@dataclass(frozen=True)
class DeepImage:
    """An image of 16-bit samples, upright."""

    values: np.ndarray
    """uint16 of shape (H, W), grey, (H, W, 3), RGB, or (H, W, 4), CMYK."""
    opacity: np.ndarray | None = None
    """uint8 of shape (H, W), 255 where the image is opaque; None: everywhere."""
    is_negative: bool = False
    """True if 0 is white. As in CMYK, what is black follows from the depth, so both are inverted when reduced."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.values.shape[:2]
        return width, height

    @property
    def depth(self) -> int:
        """The least of DEPTHS that holds the greatest value; what is wholly transparent does not count."""
        return find_depth(self.values if self.opacity is None else self.values[self.opacity > 0])

    def transpose(self, method: Image.Transpose | None) -> DeepImage:
        """Turn or mirror as Pillow does."""
        if method is None:
            return self
        opacity = None if self.opacity is None else _transpose(self.opacity, method)
        return replace(self, values=_transpose(self.values, method), opacity=opacity)

    def reduce(self, table: np.ndarray) -> Image.Image:
        """Reduce to 8-bit RGB by a table of 65,536 bytes; transparent parts become white."""
        reduced = table[self.values]
        if self.is_negative:
            reduced = 255 - reduced
        mode = {2: "L", 3: "RGB", 4: "CMYK"}[reduced.shape[-1] if reduced.ndim > 2 else 2]
        image = Image.frombytes(mode, self.size, reduced.tobytes()).convert("RGB")
        if self.opacity is not None:
            image.putalpha(Image.fromarray(self.opacity))
        return flatten(image)

    def split_bands(self) -> Iterator[DeepImage]:
        """Split into bands of rows from top to bottom, each of about BAND_PIXELS."""
        width, height = self.size
        rows = max(1, BAND_PIXELS // width)
        for top in range(0, height, rows):
            band = slice(top, top + rows)
            opacity = None if self.opacity is None else self.opacity[band]
            yield replace(self, values=self.values[band], opacity=opacity)


def find_depth(values: np.ndarray) -> int:
    """Find the least of DEPTHS that holds all values."""
    greatest = int(values.max(initial=0))
    return next(depth for depth in DEPTHS if greatest < 1 << depth)


@cache
def build_table(depth: int) -> np.ndarray:
    """Build the table that reduces values of `depth` bits to 8: the lower bits are dropped, greater values are 255.

    So 8-bit values come back unchanged, however a file widened them: v · 2^(depth-8), or repeated bits (v · 257).
    """
    table: np.ndarray = np.minimum(np.arange(1 << 16) >> (depth - 8), 255).astype(np.uint8)
    return table


@cache
def build_table_of_version_1() -> np.ndarray:
    """Build the table of version 1, which divided by 257 and rounded, whatever the depth."""
    return ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)


def flatten(image: Image.Image) -> Image.Image:
    """Put an image on white, as RGB."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def read_grey(image: Image.Image) -> DeepImage | None:
    """Read an open grey image of 16 bits, or of 32 whose values fit 16; None if they do not."""
    values = _to_values(image)
    if values is None:
        return None
    return DeepImage(values, _find_key(values[..., None], image))


def _to_values(image: Image.Image) -> np.ndarray | None:
    """Convert grey to uint16 in the machine's byte order; None if it does not fit."""
    values = np.asarray(image)
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() >= 1 << FULL_DEPTH):
        return None
    return values.astype(np.uint16, copy=False)


def read_colours(image: Image.Image, data: bytes) -> DeepImage | None:
    """Read 16-bit colours, of which Pillow keeps the high bytes, from an image just opened; None for other images.

    The file is decoded twice, the second time as if its bytes were swapped, which gives the low bytes.
    """
    rawmode = _get_rawmode(image)
    if rawmode == "LA;16B":  # four bytes a pixel, which Pillow can give as they are
        high, low, *opacity = (np.asarray(band) for band in _load_as(data, "RGBA", "RGBA").split())
        return DeepImage(_join(high, low), _reduce_opacity(_join(*opacity)))
    name, _, order = rawmode.partition(";16")
    if name not in ("RGB", "RGBX", "RGBA", "RGBa", "CMYK") or order not in OTHER_BYTE:
        return None
    straight = name.upper()  # multiplied colours are divided below, with all their bits
    high, low = (np.asarray(_load_as(data, image.mode, f"{straight};16{each}")) for each in (order, OTHER_BYTE[order]))
    if name == "CMYK":
        return DeepImage(_join(high, low))
    values = _join(high[..., :3], low[..., :3])
    if image.mode != "RGBA":
        return DeepImage(values, _find_key(values, image))
    alpha = _join(high[..., 3], low[..., 3])
    return DeepImage(_divide(values, alpha) if name == "RGBa" and alpha.any() else values, _reduce_opacity(alpha))


def read_planes(files: Sequence[bytes], *, is_cmyk: bool) -> DeepImage:
    """Read planes, each a grey file of 16 bits: four of inks, or three of colours, and a fourth of opacity."""
    planes = [np.asarray(Image.open(io.BytesIO(file))).astype(np.uint16, copy=False) for file in files]
    if is_cmyk:
        return DeepImage(np.stack(planes, axis=-1))
    return DeepImage(np.stack(planes[:3], axis=-1), _reduce_opacity(planes[3]) if planes[3:] else None)


def _get_rawmode(image: Image.Image) -> str:
    """Get the layout of an open image's samples in its file, by Pillow's name; "" if it has several."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    rawmodes = {tile.args if isinstance(tile.args, str) else str(tile.args[0]) for tile in tiles if tile.args}
    return rawmodes.pop() if len(rawmodes) == 1 else ""


def _load_as(data: bytes, mode: str, rawmode: str) -> Image.Image:
    """Decode a file's pixels by another of Pillow's unpackers."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, ImageFile.ImageFile)
    image._mode = mode
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]
    image.load()
    return image


def _join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    values = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values


def _find_key(values: np.ndarray, image: Image.Image) -> np.ndarray | None:
    """Find where values (H, W, C) are the colour that a PNG declares to be transparent: an opacity, or None."""
    key = image.info.get("transparency")
    return None if key is None else np.where((values == key).all(-1), 0, 255).astype(np.uint8)


def _divide(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Divide colours by the opacity that they were multiplied by."""
    most = (1 << find_depth(alpha)) - 1
    quotients = values * np.uint32(most) // np.maximum(alpha, 1)[..., None]
    clipped: np.ndarray = np.minimum(quotients, (1 << FULL_DEPTH) - 1).astype(np.uint16)
    return clipped


def _reduce_opacity(alpha: np.ndarray) -> np.ndarray:
    """Reduce an opacity of 16 bits to 8, by its own depth: where colours use 12 bits, so does it."""
    reduced: np.ndarray = build_table(find_depth(alpha))[alpha]
    return reduced


def _transpose(values: np.ndarray, method: Image.Transpose) -> np.ndarray:
    match method:
        case Image.Transpose.FLIP_LEFT_RIGHT:
            return values[:, ::-1]
        case Image.Transpose.FLIP_TOP_BOTTOM:
            return values[::-1]
        case Image.Transpose.TRANSPOSE:
            return values.swapaxes(0, 1)
        case Image.Transpose.TRANSVERSE:
            return values[::-1, ::-1].swapaxes(0, 1)
    quarters = {Image.Transpose.ROTATE_90: 1, Image.Transpose.ROTATE_180: 2, Image.Transpose.ROTATE_270: 3}
    return np.rot90(values, quarters[method])
