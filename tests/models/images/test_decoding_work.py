"""Limits on the work of decoding: each refused input is small, and would keep a core for minutes."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from models.images import decode, decoding_work
from tests.support.image_files import chunk, jpeg_with, png_with, tiff
from tests.support.images import encoded, noise

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESSIVE = encoded(noise(1, 64, 64), "JPEG", progressive=True)
BASELINE = encoded(noise(1, 64, 64), "JPEG")
MANY = decoding_work.MAX_PARTS + 1


def repeat_last_scan(jpeg: bytes, times: int) -> bytes:
    """Repeat the last scan of a JPEG."""
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * times + b"\xff\xd9"


def refused(data: bytes) -> str:
    """The code with which a file is refused."""
    with pytest.raises(decode.BadImage) as caught:
        decode.check(data)
    return caught.value.code


def test_scans_are_counted() -> None:
    assert decoding_work.count_scans(BASELINE) == 1
    assert decoding_work.count_scans(PROGRESSIVE) == PROGRESSIVE.count(b"\xff\xda")
    assert decoding_work.count_scans(repeat_last_scan(PROGRESSIVE, 500)) == PROGRESSIVE.count(b"\xff\xda") + 499
    assert decoding_work.count_scans(encoded(noise(1))) == 0


def test_scans_of_thumbnails_and_of_later_images_do_not_count() -> None:
    thumbnails = jpeg_with(BASELINE, b"Exif\0\0" + b"\xff\xda\0\0" * 5000)
    assert decoding_work.count_scans(thumbnails + repeat_last_scan(PROGRESSIVE, 5000)) == 1
    decode.check(thumbnails)


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    assert refused(repeat_last_scan(PROGRESSIVE, 100_000)) == "too_many_scans"
    assert decode.check(repeat_last_scan(PROGRESSIVE, 50)).width == 64


def test_scans_go_over_all_pixels() -> None:
    large = encoded(Image.new("L", (6000, 4000)), "JPEG", progressive=True)
    assert decode.check(large).width == 6000
    assert refused(repeat_last_scan(large, 100)) == "too_many_scans"


def segments(count: int) -> bytes:
    """A JPEG with `count` comments."""
    return BASELINE[:2] + b"\xff\xfe\0\2" * count + BASELINE[2:]


def chunks(count: int) -> bytes:
    """A PNG with `count` chunks."""
    png = encoded(noise(1))
    return png[:33] + chunk(b"tEXt", b"a\0b") * count + png[33:]


def blocks(count: int) -> bytes:
    """A GIF with `count` blocks before its frame."""
    gif = encoded(noise(1).quantize(16), "GIF")
    place = gif.index(b",\0\0\0\0")
    return gif[:place] + b"!\xfe" + b"\1x" * count + b"\0" + gif[place:]


def strips(count: int) -> bytes:
    """A TIFF that claims `count` strips."""
    return tiff(np.asarray(noise(1)), {279: [1] * count, 273: [8] * count})


def test_a_tiff_of_very_many_jpegs_is_refused() -> None:
    count = decoding_work.MAX_JPEG_PARTS + 1
    assert refused(tiff(np.asarray(noise(1)), {259: [7], 279: [1] * count, 273: [8] * count})) == "too_many_parts"


@pytest.mark.parametrize("write", [segments, chunks, blocks, strips])
def test_a_file_of_very_many_parts_is_refused(write: Callable[[int], bytes]) -> None:
    assert refused(write(MANY)) == "too_many_parts"


@pytest.mark.parametrize("write", [segments, chunks, blocks])
def test_a_file_of_many_parts_is_good(write: Callable[[int], bytes]) -> None:
    assert decode.check(write(1000)).width in (24, 64)


def test_a_long_run_length_encoded_bmp_is_refused() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(1024)
    body = b"\1\7" * (decoding_work.MAX_RUN_BYTES // 2)
    data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body
    assert refused(data) == "too_many_parts"


@pytest.mark.parametrize("lossless", [True, False])
def test_the_canvas_of_a_webp_is_checked_before_it_is_opened(lossless: bool) -> None:
    with pytest.raises(decode.BadImage) as caught:
        decoding_work.check_work(encoded(Image.new("RGB", (16_000, 40)), "WEBP", lossless=lossless), _refuse_wide)
    assert caught.value.code == "16000x40"
    animated = encoded(noise(1), "WEBP", save_all=True, append_images=[noise(2)])
    huge = animated[:24] + b"\xff\xff\xff" * 2 + animated[30:]
    assert refused(huge) == "too_large"


def _refuse_wide(width: int, height: int) -> None:
    raise decode.BadImage(f"{width}x{height}", "")


def test_compressed_text_is_not_unpacked() -> None:
    bomb = b"prompt\0\0" + zlib.compress(bytes(50_000_000), 9)
    assert decode.check(png_with(encoded(noise(1)), b"zTXt", bomb)) == decode.check(encoded(noise(1)))
