"""Decode image files to upright 8-bit RGB on white, by the rules that a dataset or a checkpoint keeps."""

from __future__ import annotations

import io
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile

from graft.images import repair, tiff
from graft.images.deep import (
    FULL_DEPTH,
    DeepImage,
    build_table,
    build_table_of_version_1,
    flatten,
    read_colours,
    read_grey,
    read_planes,
)
from graft.images.other_formats import describe_unknown

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import numpy as np

    Admit = Callable[[int, int], AbstractContextManager[object]]
    """Called with width and height before pixels are decoded, which is done inside; it may raise BadImage."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that are decoded; Pillow's readers of rarer formats have had more security holes."""
MAGIC = {repair.JPEG: "JPEG", repair.PNG: "PNG", repair.GIF: "GIF", repair.BMP: "BMP"} | dict.fromkeys(
    tiff.MAGIC, "TIFF"
)
"""First bytes of files, and their format; a WebP is found by its plugin."""
VERSION = 2
"""Version of the rules: increase it when any file's pixels change. Version 1 is that of checkpoints without a key."""
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its orientation."""
OUT_OF_MEMORY = ("out of memory", "memory allocation failure", "insufficient memory", "decoder error -9")
"""What libraries say when memory runs out."""
ENDS_TOO_SOON = ("truncated", "not enough image data")
GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of more than 8 bits."""


class BadImage(Exception):
    """A file that cannot be used as an image."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Decoding:
    """The rules by which a dataset's files are decoded."""

    version: int = VERSION
    depth: int | None = None
    """Bits that the values of 16-bit files use; None: the dataset has no such file, and all 16 are taken."""

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Decoding:
        """Read the rules from the metadata of a checkpoint's safetensors file."""
        return cls.from_dict(json.loads(metadata.get("decoding", '{"version": 1}')))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decoding:
        """Read the rules from plain values; raises ValueError if they are of a newer release."""
        if not 1 <= values["version"] <= VERSION:
            raise ValueError(
                f"Images are decoded by version {values['version']} of the rules; this release knows version "
                f"{VERSION}. Install a newer one."
            )
        return cls(values["version"], values.get("depth"))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, with what all versions have in common."""
        return {"version": self.version, "upright": True, "background": "white", "depth": self.depth}

    @property
    def table(self) -> np.ndarray:
        """The table that reduces 16-bit values to 8 bits."""
        return build_table_of_version_1() if self.version == 1 else build_table(self.depth or FULL_DEPTH)


def open_image(file: str | os.PathLike[str] | IO[bytes] | bytes, metadata: Mapping[str, str]) -> Image.Image:
    """Open an image as a checkpoint's training did, by the metadata of its safetensors file; returns 8-bit RGB.

    Raises BadImage, and OSError if the file cannot be read.
    """
    if isinstance(file, bytes):
        data = file
    else:
        data = Path(file).read_bytes() if isinstance(file, str) or hasattr(file, "__fspath__") else file.read()
    return decode(data, Decoding.from_metadata(metadata))


def decode(data: bytes, decoding: Decoding) -> Image.Image:
    """Decode the first frame as upright 8-bit RGB; transparent parts become white. Raises BadImage."""
    image = read_image(data, decoding.version)
    return image.reduce(decoding.table) if isinstance(image, DeepImage) else image


def read_image(
    data: bytes, version: int = VERSION, admit: Admit = lambda *_: nullcontext(), side: int = 0
) -> Image.Image | DeepImage:
    """Read the first frame upright: 8-bit RGB with white for transparent parts, or without loss if it is deeper.

    side: pixels that are needed of the longer side; a JPEG that has more is decoded at a fraction of its size. 0: all.

    Raises BadImage with code empty_file, not_an_image, truncated or unreadable, and MemoryError.
    """
    if not data:
        raise BadImage("empty_file", "The file is empty.")
    try:
        return _read(data, version, admit, side)
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's readers may raise any error on a broken file
        _check_memory(error)
        first = error
    try:
        copy = repair.without_metadata(data)
        if copy is not None:
            return _read(copy, version, admit, side)
    except (BadImage, MemoryError):
        raise
    except repair.PixelsMissing as error:
        raise _truncated() from error
    except Exception as error:
        _check_memory(error)
    raise _explain(data, first) from first


def _read(data: bytes, version: int, admit: Admit, side: int) -> Image.Image | DeepImage:
    if version > 1 and data[:4] in tiff.MAGIC:
        return _read_tiff(data, admit)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image, admit(*image.size):
        if image.format in ("JPEG", "MPO"):
            quick = _read_jpeg(image, data, version, side)
            if quick is not None:
                return _make_upright(quick, _find_orientation(image))
        frame = image.tile[0].extents if isinstance(image, GifImageFile) else None
        deep = _read_deep(image, data, version)
        if deep is not None:
            return deep.transpose(TRANSPOSITIONS.get(_find_orientation(image)))
        if version > 1 and image.format == "BMP" and _is_alpha_empty(image):
            return image.convert("RGB")
        if version > 1 and frame is not None:
            return _place_frame(image, frame)
        # Pillow turns a TIFF upright itself.
        return _make_upright(_flatten(image), 1 if image.format == "TIFF" else _find_orientation(image))


def _read_tiff(data: bytes, admit: Admit) -> Image.Image | DeepImage:
    """Read a TIFF, which Pillow turns upright, and correct what Pillow shows otherwise than viewers do."""
    directory = tiff.Directory.read(data)
    if directory.is_deep_negative:
        data = directory.replace({tiff.PHOTOMETRIC: [tiff.BLACK_IS_ZERO]})
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image, admit(*image.size):
        if directory.has_deep_planes:
            planes = [directory.select_plane(plane) for plane in range(directory.planes)]
            return _drop_empty_alpha(read_planes(planes, is_cmyk=directory.is_cmyk))
        deep = _read_deep(image, data, VERSION)
        if deep is not None:
            return replace(deep, is_negative=True) if directory.is_deep_negative else _drop_empty_alpha(deep)
        colours = directory.get(tiff.COLOUR_MAP)
        if image.mode == "P" and colours and max(colours) < 256:  # written as 8 bits, where the format has 16
            image.putpalette(bytes(colours), "RGB;L")
        if _is_alpha_empty(image):
            unspecified = [0] * max(1, len(directory.get(tiff.EXTRA_SAMPLES)))
            with Image.open(io.BytesIO(directory.replace({tiff.EXTRA_SAMPLES: unspecified}))) as opaque:
                opaque.load()
                return _flatten(opaque)
        return _flatten(image)


def _read_deep(image: Image.Image, data: bytes, version: int) -> DeepImage | None:
    """Read an open image without loss if it has more than 8 bits; version 1 does so with grey alone."""
    deep = read_colours(image, data) if version > 1 else None
    if deep is not None:
        return deep
    image.load()
    if image.mode not in GREY_MODES:
        return None
    deep = read_grey(image)
    if deep is None:
        raise BadImage("unreadable", "Pixels outside 0 to 65535 have no fixed range; use 8 or 16 bits.")
    return deep


def _read_jpeg(image: Image.Image, data: bytes, version: int, side: int) -> Image.Image | None:
    """Decode a JPEG by libjpeg-turbo, to the same pixels as Pillow but faster; None for CMYK, or if it has a fault."""
    try:
        if image.mode != "CMYK":
            width, height = (side, 0) if image.width >= image.height else (0, side)
            return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width))
        if version > 1:
            simplejpeg.decode_jpeg(data, "CMYK")
    except ValueError as error:
        _check_memory(error)
        if version > 1 and "premature end of data segment" in str(error):  # which Pillow would fill with grey
            raise _truncated() from error
    return None


def _find_orientation(image: Image.Image) -> int:
    """Find the orientation of an open image; what cannot be read is upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers may raise any error on broken metadata
        return 1
    return orientation if orientation in TRANSPOSITIONS else 1


def _make_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image upright."""
    method = TRANSPOSITIONS.get(orientation)
    return image if method is None else image.transpose(method)


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise BadImage("unreadable", "Images of floating-point pixels have no fixed range; use 8 or 16 bits.")
    return flatten(image)


def _place_frame(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Put the frame of a GIF on white: what it leaves free is transparent, where Pillow puts the background colour."""
    white = Image.new("RGB", image.size, "white")
    white.paste(_flatten(image).crop(frame), frame[:2])
    return white


def _is_alpha_empty(image: Image.Image) -> bool:
    """Tell whether an image is wholly transparent, by a program that wrote no alpha; viewers show its colours."""
    bands = image.getbands()
    return bands[-1] in ("A", "a") and image.getchannel(len(bands) - 1).getextrema() == (0, 0)


def _drop_empty_alpha(deep: DeepImage) -> DeepImage:
    return replace(deep, opacity=None) if deep.opacity is not None and not deep.opacity.any() else deep


def _check_memory(error: Exception) -> None:
    """Raise MemoryError if a library's error means that memory ran out: this says nothing about the file."""
    text = str(error).lower()
    if any(sign in text for sign in OUT_OF_MEMORY):
        raise MemoryError(str(error)) from error


def _truncated() -> BadImage:
    return BadImage("truncated", "The file ends before the image does. Copy it again.")


def _explain(data: bytes, error: Exception) -> BadImage:
    """Explain why a file cannot be decoded."""
    if isinstance(error, UnidentifiedImageError):
        found = [name for start, name in MAGIC.items() if data.startswith(start)]
        if not found:
            return BadImage("not_an_image", describe_unknown(data, FORMATS))
        try:
            Image.OPEN[found[0]][0](io.BytesIO(data), "")
        except Exception as reason:
            error = reason
    is_cut_webp = data.startswith(repair.RIFF) and len(data) < 8 + int.from_bytes(data[4:8], "little")
    if any(sign in str(error).lower() for sign in ENDS_TOO_SOON) or is_cut_webp:
        return _truncated()
    return BadImage("unreadable", f"The image cannot be decoded: {error}. Save it again as PNG or JPEG.")
