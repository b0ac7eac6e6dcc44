"""Check the image files of a dataset before they are accepted, and decode them with bounded memory."""

from __future__ import annotations

import hashlib
import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from graft.images import DEPTHS, BadImage, Decoding, DeepImage, decode, read_image
from graft.images.decoding import FORMATS, TRANSPOSITIONS, VERSION
from models.images.decoding_work import check_scans, check_work, count_scans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "BadImage",
    "CheckedImage",
    "Decoding",
    "check",
    "choose_depth",
    "compute_digest",
    "decode",
    "decode_checked",
    "limit_pixels",
]

MIN_SIDE = 8
MAX_PIXELS = 50_000_000
"""Most pixels of an image, checked by its header before it is decoded: a small file can unpack to gigabytes."""
MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side: resizing by the shorter side would make huge images too."""
MAX_PIXELS_AT_ONCE = 2 * MAX_PIXELS
"""Most pixels of all images that threads decode at the same time; one has at most 20 bytes a pixel."""
Image.MAX_IMAGE_PIXELS = None  # Pillow would only warn, and later
warnings.filterwarnings("ignore", module=r"PIL\.")  # an image that decodes is good, whatever its metadata
FEW_ROWS = 4
"""Rows that are looked at first for colours: they tell nearly every colour image."""


@dataclass(frozen=True)
class CheckedImage:
    """A good image: its upright size, and digests."""

    width: int
    height: int
    digest: bytes
    """SHA-256 of its size and pixels, all bits of them."""
    depth: int | None = None
    """Bits that its values use, if its file has more than 8 of them."""
    digests: Mapping[int, bytes] = field(default_factory=dict)
    """By each depth that a dataset with it may have: the digest of its pixels when reduced to 8 bits by that depth."""
    flags: frozenset[str] = frozenset()
    """What is notable of its file, of pack.FLAGS."""

    def get_digest(self, depth: int | None) -> bytes:
        """Get the digest of its 8-bit pixels in a dataset of this depth."""
        return self.digest if depth is None or self.depth is None else self.digests[depth]


class _PixelBudget:
    """Pixels that may be decoded at the same time; an image that is larger than all of them waits to be alone."""

    def __init__(self, pixels: int) -> None:
        self._all = self._free = pixels
        self._changed = Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait for room, and keep it inside."""
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


limit_pixels = _PixelBudget(MAX_PIXELS_AT_ONCE).reserve
"""Wait until an image of this size can be decoded besides those of other threads, and keep the room inside."""


def check(data: bytes) -> CheckedImage:
    """Check an image file by decoding it, with the newest rules.

    Raises BadImage with one of decode's codes, or too_small, too_large, too_elongated, too_many_scans or
    too_many_parts; and MemoryError.
    """
    image = _read_checked(data)
    width, height = image.size
    with limit_pixels(width * height):
        flags = _find_flags(data)
        if isinstance(image, DeepImage):
            return _check_deep(image, flags | {"deep"})
        if _is_grey(image):
            flags |= {"grayscale"}
        return CheckedImage(width, height, compute_digest(image), flags=flags)


def decode_checked(data: bytes, decoding: Decoding, side: int = 0) -> Image.Image:
    """Check an image file and decode it as `decode` does, in one pass; raises as `check`.

    side: pixels that are needed of the longer side; a JPEG that has more is decoded at a fraction of its size. 0: all.
    """
    image = _read_checked(data, decoding.version, side)
    if not isinstance(image, DeepImage):
        return image
    with limit_pixels(image.size[0] * image.size[1]):
        return image.reduce(decoding.table)


def _read_checked(data: bytes, version: int = VERSION, side: int = 0) -> Image.Image | DeepImage:
    """Read an image file whose work and size are checked before it is decoded; raises as `check`."""
    check_work(data, _check_size)
    scans = count_scans(data)

    @contextmanager
    def admit(width: int, height: int) -> Iterator[None]:
        _check_size(width, height)
        check_scans(scans, width * height)
        with limit_pixels(width * height):
            yield

    return read_image(data, version, admit, side)


def choose_depth(images: Iterable[CheckedImage | None]) -> int | None:
    """Choose the depth of a dataset: the greatest that an image has; None if all have 8 bits."""
    return max((image.depth for image in images if image is not None and image.depth is not None), default=None)


def compute_digest(image: Image.Image) -> bytes:
    """Compute the SHA-256 of an RGB image's size and pixels: the same however a file encodes them."""
    digest = _start_digest(*image.size)
    digest.update(image.tobytes())
    return digest.digest()


def _check_deep(image: DeepImage, flags: frozenset[str]) -> CheckedImage:
    """Compute the digests of a deep image band by band."""
    width, height = image.size
    lossless = _start_digest(width, height)
    by_depth = {depth: _start_digest(width, height) for depth in DEPTHS if depth >= image.depth}
    if image.is_negative:
        lossless.update(b"negative")
    for band in image.split_bands():
        lossless.update(band.values.tobytes())
        if band.opacity is not None:
            lossless.update(band.opacity.tobytes())
        for depth, digest in by_depth.items():
            digest.update(band.reduce(Decoding(depth=depth).table).tobytes())
    digests = {depth: digest.digest() for depth, digest in by_depth.items()}
    if image.values.ndim == 2:
        flags |= {"grayscale"}
    return CheckedImage(width, height, lossless.digest(), image.depth, digests, flags)


def _find_flags(data: bytes) -> frozenset[str]:
    """Find what the header of a good file has that is notable; nothing where it cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            has_alpha = image.has_transparency_data
            is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) in TRANSPOSITIONS
    except MemoryError:
        raise
    except Exception:  # Pillow's readers may raise any error on broken metadata
        return frozenset()
    return frozenset(name for name, has_it in (("alpha", has_alpha), ("rotated", is_rotated)) if has_it)


def _is_grey(image: Image.Image) -> bool:
    """Tell whether all pixels of an RGB image are grey."""
    first = image.crop((0, 0, image.width, min(FEW_ROWS, image.height)))
    return all((pixels[..., :2] == pixels[..., 1:]).all() for pixels in map(np.asarray, (first, image)))


def _start_digest(width: int, height: int) -> hashlib._Hash:
    return hashlib.sha256(width.to_bytes(4, "little") + height.to_bytes(4, "little"))


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise BadImage(
            "too_small", f"{width}x{height} pixels; at least {MIN_SIDE} per side are needed. Use a larger image."
        )
    if width * height > MAX_PIXELS:
        raise BadImage(
            "too_large",
            f"{width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} million are allowed. Make it smaller.",
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadImage(
            "too_elongated",
            f"{width}x{height} pixels; one side may be at most {MAX_ASPECT_RATIO} times the other. Crop it.",
        )
