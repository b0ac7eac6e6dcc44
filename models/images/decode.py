"""Images: from encoded bytes to upright RGB, and their identity."""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is opened at all: Pillow's readers of rarer formats have had more holes."""
LEAST_SIDE = 8
MOST_PIXELS = 50_000_000
"""Judged by the header before anything is decoded: a small file can unfold into gigabytes."""
MOST_ELONGATED = 50
"""The longer side to the shorter one: what is resized by its shorter side would unfold too."""
Image.MAX_IMAGE_PIXELS = None  # Pillow would only warn, and later
warnings.filterwarnings("ignore", module=r"PIL\.")  # an image that decodes is good, whatever its metadata
ORIENTATION = ExifTags.Base.Orientation
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MOST_DEEP = 65535


class BadImage(Exception):
    """A file that cannot be used as an image."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode(data: bytes) -> Image.Image:
    """The first frame, upright (EXIF orientation applied), as RGB; transparent parts become white.

    Raises BadImage with code empty_file, not_an_image, too_small, too_large, too_elongated, truncated or
    unreadable.
    """
    if not data:
        raise BadImage("empty_file", "The file has no bytes.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            if _is_plain_jpeg(image) and (quick := _from_jpeg(data)) is not None:
                return quick
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise BadImage("not_an_image", f"The file is none of {kinds}.") from error
    except BadImage:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
        if "truncated" in str(error).lower():
            raise BadImage("truncated", "The file ends before the image does.") from error
        raise BadImage("unreadable", f"The image cannot be decoded: {error}") from error


def digest(image: Image.Image) -> bytes:
    """SHA-256 of the size and pixels of an upright RGB image: the same however the file encodes it."""
    size = image.width.to_bytes(4, "little") + image.height.to_bytes(4, "little")
    return hashlib.sha256(size + image.tobytes()).digest()


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < LEAST_SIDE:
        raise BadImage("too_small", f"{width}x{height} pixels; at least {LEAST_SIDE} a side are needed.")
    if width * height > MOST_PIXELS:
        raise BadImage(
            "too_large",
            f"{width}x{height} pixels; at most {MOST_PIXELS // 1_000_000} million are taken. Make it smaller.",
        )
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise BadImage(
            "too_elongated",
            f"{width}x{height} pixels; a side may be {MOST_ELONGATED} times the other. Cut it into pieces.",
        )


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether it is grey or in colours, upright, and nothing but a JPEG."""
    return image.format == "JPEG" and image.mode in ("L", "RGB") and image.getexif().get(ORIENTATION, 1) == 1


def _from_jpeg(data: bytes) -> Image.Image | None:
    """By libjpeg-turbo without a detour: Pillow's pixels in less time; none where it is not sound in every bit."""
    try:
        return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_MODES:
        return _from_deep(image)
    if image.mode == "F":
        raise BadImage("unreadable", "Images of floating-point pixels have no fixed range; use 8 or 16 bits.")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit grey, scaled to 8 bits (Pillow's own conversion would clip it)."""
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > MOST_DEEP:
        raise BadImage("unreadable", f"Pixels outside 0 to {MOST_DEEP} have no fixed range; use 8 or 16 bits.")
    grey = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
