"""Thumbnails: small JPEGs of image files, upright, on white, in sRGB and without metadata."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageCms

from graft.images.decoding import FORMATS
from models.images.decode import decode_checked

if TYPE_CHECKING:
    from graft.images import Decoding

QUALITY = 80
OVERSAMPLING = 2
"""Pixels of a JPEG that are decoded for each pixel of the thumbnail's side: fewer would show."""
MAX_PROFILE_BYTES = 1 << 20
"""Larger ICC profiles are not applied; those of cameras have some kilobytes."""


def make_thumbnail(data: bytes, decoding: Decoding, size: int) -> bytes:
    """Make a JPEG of at most `size` pixels a side, never larger than the image, which is decoded as for training.

    Raises BadImage and MemoryError.
    """
    image = decode_checked(data, decoding, OVERSAMPLING * size)
    longer = max(image.size)
    if longer > size:
        width, height = (max(1, round(side * size / longer)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    _to_srgb(image, data).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _to_srgb(image: Image.Image, data: bytes) -> Image.Image:
    """Convert to sRGB by the file's ICC profile; without one that is of RGB, or where it is broken, nothing changes."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            profile = header.info.get("icc_profile")
        if not profile or len(profile) > MAX_PROFILE_BYTES:
            return image
        transform = _build_transform(profile)
        return image if transform is None else transform.apply(image)
    except MemoryError:
        raise
    except Exception:  # the profile is anybody's
        return image


@lru_cache(maxsize=32)
def _build_transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from a profile to sRGB; None for profiles of grey or CMYK."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if opened.profile.xcolor_space.strip() != "RGB":
        return None
    return ImageCms.ImageCmsTransform(opened, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), "RGB", "RGB")
