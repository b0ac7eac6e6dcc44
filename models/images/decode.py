"""Decode image files to upright RGB, and compute digests of their pixels."""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that are decoded; Pillow's readers of rarer formats have had more security holes."""
MIN_SIDE = 8
MAX_PIXELS = 50_000_000
"""Most pixels of an image, checked by its header before it is decoded: a small file can unpack to gigabytes."""
MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side: resizing by the shorter side would make huge images too."""
Image.MAX_IMAGE_PIXELS = None  # Pillow would only warn, and later
warnings.filterwarnings("ignore", module=r"PIL\.")  # an image that decodes is good, whatever its metadata
ORIENTATION = ExifTags.Base.Orientation
MODES_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MAX_16_BIT = 65535


class BadImage(Exception):
    """A file that cannot be used as an image."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode(data: bytes) -> Image.Image:
    """Decode the first frame as upright RGB (EXIF orientation applied); transparent parts become white.

    Raises BadImage with code empty_file, not_an_image, too_small, too_large, too_elongated, truncated or
    unreadable.
    """
    if not data:
        raise BadImage("empty_file", "The file is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            if _is_plain_jpeg(image) and (quick := _from_jpeg(data)) is not None:
                return quick
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise BadImage(
            "not_an_image", f"The file is no image in a known format ({formats}). Convert it to one of them."
        ) from error
    except BadImage:
        raise
    except Exception as error:  # Pillow's readers may raise any error on a broken file
        if "truncated" in str(error).lower():
            raise BadImage("truncated", "The file ends before the image does. Copy it again.") from error
        raise BadImage("unreadable", f"The image cannot be decoded: {error}") from error


def compute_digest(image: Image.Image) -> bytes:
    """Compute the SHA-256 of an RGB image's size and pixels: the same however a file encodes them."""
    size = image.width.to_bytes(4, "little") + image.height.to_bytes(4, "little")
    return hashlib.sha256(size + image.tobytes()).digest()


def _check_size(image: Image.Image) -> None:
    width, height = image.size
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


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Tell whether an image is an upright JPEG in grey or RGB."""
    return image.format == "JPEG" and image.mode in ("L", "RGB") and image.getexif().get(ORIENTATION, 1) == 1


def _from_jpeg(data: bytes) -> Image.Image | None:
    """Decode a JPEG by libjpeg-turbo, to the same pixels as Pillow but faster; None if the file has any fault."""
    try:
        return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in MODES_16_BIT:
        return _from_16_bit(image)
    if image.mode == "F":
        raise BadImage("unreadable", "Images of floating-point pixels have no fixed range; use 8 or 16 bits.")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits (Pillow's own conversion would clip it)."""
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > MAX_16_BIT:
        raise BadImage("unreadable", f"Pixels outside 0 to {MAX_16_BIT} have no fixed range; use 8 or 16 bits.")
    grey = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
