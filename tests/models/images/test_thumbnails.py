"""Thumbnails: small, upright, on white, in sRGB, without metadata, and like what Pillow makes of the whole image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from graft.images import BadImage, Decoding
from models.images.thumbnails import make_thumbnail
from tests.support.images import encoded, noise


def smooth(width: int, height: int) -> Image.Image:
    """A photograph-like image: no two corners alike."""
    pale = Image.blend(noise(0, 4, 3), Image.new("RGB", (4, 3), "grey"), 0.6)
    return pale.resize((width, height), Image.Resampling.BICUBIC)


def open_thumbnail(data: bytes, size: int = 64, decoding: Decoding | None = None) -> Image.Image:
    made = Image.open(io.BytesIO(make_thumbnail(data, decoding or Decoding(), size)))
    assert (made.format, made.mode) == ("JPEG", "RGB")
    assert not {"exif", "icc_profile", "xmp", "comment"} & made.info.keys()
    return made


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other.convert("RGB"), float)).mean())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (200, 1000)])
def test_is_the_image_scaled_down(format: str, width: int, height: int) -> None:
    image, longer = smooth(width, height), max(width, height)
    made = open_thumbnail(encoded(image, format))
    expected = (max(1, round(width * 64 / longer)), max(1, round(height * 64 / longer)))
    assert made.size == expected
    assert difference(made, image.resize(expected, Image.Resampling.BICUBIC, reducing_gap=3)) < 4


def test_a_small_image_keeps_its_size() -> None:
    image = smooth(40, 24)
    made = open_thumbnail(encoded(image), 256)
    assert made.size == (40, 24)
    assert difference(made, image) < 4


@pytest.mark.parametrize("options", [{}, {"quality": 95}])
def test_is_upright(options: dict[str, Any]) -> None:
    image = smooth(320, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    turned = image.transpose(Image.Transpose.ROTATE_90)
    made = open_thumbnail(encoded(turned, "JPEG", exif=exif, **options))
    assert made.size == (64, 40)
    assert difference(made, image.resize((64, 40))) < 6


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    assert np.asarray(open_thumbnail(encoded(image))).min() > 250


def test_16_bits_are_reduced_by_the_datasets_depth() -> None:
    values = np.full((100, 100), 1000, np.uint16)
    data = encoded(Image.fromarray(values))
    assert abs(int(np.asarray(open_thumbnail(data, decoding=Decoding(depth=10))).mean()) - 250) <= 1
    assert np.asarray(open_thumbnail(data, decoding=Decoding(depth=16))).mean() < 5


def build_swapped_profile() -> bytes:
    """Build the profile of a space in which a linear gamma stands for sRGB's: mid-grey is shown lighter."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    start = profile.find(b"para")
    assert start > 0
    profile[start : start + 16] = b"para" + bytes(8) + (1 << 16).to_bytes(4, "big")
    return bytes(profile)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_colours_are_those_of_the_profile(format: str) -> None:
    image = Image.new("RGB", (100, 100), (64, 64, 64))
    assert abs(int(np.asarray(open_thumbnail(encoded(image, format))).mean()) - 64) <= 1
    made = open_thumbnail(encoded(image, format, icc_profile=build_swapped_profile()))
    assert abs(int(np.asarray(made).mean()) - 137) <= 3, "a quarter of the light is 137 in sRGB"


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_a_broken_profile_changes_nothing(profile: bytes) -> None:
    image = smooth(100, 60)
    assert make_thumbnail(encoded(image, icc_profile=profile), Decoding(), 64) == make_thumbnail(
        encoded(image), Decoding(), 64
    )


def test_a_bad_image_is_named() -> None:
    with pytest.raises(BadImage):
        make_thumbnail(b"no image", Decoding(), 64)
