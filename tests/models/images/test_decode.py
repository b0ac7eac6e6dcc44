"""Checks of images before they are accepted: sizes, digests, depth and memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from models.images import decode
from tests.support.image_files import chunk
from tests.support.images import encoded, noise

GREY = np.asarray(noise(2).convert("L")).astype(np.uint16)
GREY_FILE = encoded(noise(2).convert("L"))


def deep(factor: int) -> bytes:
    """A grey PNG of 16 bits whose values are 8-bit ones times a factor."""
    return encoded(Image.fromarray((GREY * factor).astype(np.uint16)))


def _bomb() -> bytes:
    """A PNG whose header claims 168 million pixels."""
    header = struct.pack(">IIBBBBB", 14000, 12000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (encoded(noise(1))[:200], "truncated"),
        (encoded(noise(1, 7, 30)), "too_small"),
        (_bomb(), "too_large"),
        (encoded(Image.new("L", (20_000, 8))), "too_elongated"),
        (encoded(Image.new("L", (8, 70_000))), "too_elongated"),
    ],
)
def test_every_fault_has_its_code(data: bytes, code: str) -> None:
    with pytest.raises(decode.BadImage) as caught:
        decode.check(data)
    assert caught.value.code == code


def test_a_long_image_is_good() -> None:
    checked = decode.check(encoded(Image.new("L", (400, 8))))
    assert (checked.width, checked.height) == (400, 8)


def test_the_size_is_that_of_the_upright_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    checked = decode.check(encoded(noise(1), exif=exif))
    assert (checked.width, checked.height) == (20, 24)


def test_an_image_is_the_same_whatever_file_it_is_in() -> None:
    as_png, as_bmp = decode.check(encoded(noise(8))), decode.check(encoded(noise(8), "BMP"))
    assert as_png == as_bmp
    assert as_png.digest == decode.compute_digest(noise(8))
    assert as_png.digest != decode.check(encoded(noise(9))).digest
    assert decode.compute_digest(Image.new("RGB", (8, 18))) != decode.compute_digest(Image.new("RGB", (18, 8)))


@pytest.mark.parametrize(("factor", "depth"), [(1, 8), (4, 10), (16, 12), (64, 14), (256, 16), (257, 16)])
def test_reduced_by_its_depth_a_deep_image_is_the_8_bit_one(factor: int, depth: int) -> None:
    checked = decode.check(deep(factor))
    assert checked.depth == depth
    assert checked.get_digest(depth) == decode.check(GREY_FILE).digest
    for other in (10, 12, 14, 16):
        if other > depth:
            reduced = decode.decode(deep(factor), decode.Decoding(depth=other))
            assert checked.get_digest(other) == decode.compute_digest(reduced)


def test_all_bits_of_a_deep_image_count_for_its_own_digest() -> None:
    values = GREY * 256
    other = values.copy()
    other[5, 5] += 1
    first, second = (decode.check(encoded(Image.fromarray(each))) for each in (values, other))
    assert first.get_digest(16) == second.get_digest(16)
    assert first.digest != second.digest


def test_a_dataset_has_the_greatest_depth_of_its_images() -> None:
    checked = [decode.check(data) for data in (GREY_FILE, deep(1), deep(16), deep(4))]
    assert decode.choose_depth(checked) == 12
    assert decode.choose_depth([checked[0], None]) is None
    assert checked[0].get_digest(12) == checked[0].digest == checked[0].get_digest(None)


def test_large_images_wait_for_each_other() -> None:
    together = threading.Barrier(2)

    def hold(pixels: int) -> bool:
        try:
            with decode.limit_pixels(pixels):
                together.wait(0.2)
        except threading.BrokenBarrierError:
            return False
        return True

    def run(pixels: int) -> list[bool]:
        together.reset()
        met: list[bool] = []
        threads = [threading.Thread(target=lambda: met.append(hold(pixels))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return met

    assert run(decode.MAX_PIXELS_AT_ONCE // 2) == [True, True]
    assert run(decode.MAX_PIXELS_AT_ONCE // 2 + 1) == [False, False]
    assert run(decode.MAX_PIXELS_AT_ONCE * 2) == [False, False]


OUT_OF_MEMORY = """
import io, resource, sys
import numpy as np
from PIL import Image
from models.images import decode

file = io.BytesIO()
grey = np.zeros((6000, 6000), np.uint16 if sys.argv[1] == "deep" else np.uint8)
Image.fromarray(grey).save(file, sys.argv[2])
del grey
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + (40 << 20),) * 2)
try:
    decode.check(file.getvalue())
except MemoryError:
    print("out of memory")
"""
"""A process that has less memory than an image needs."""


@pytest.mark.parametrize(("depth", "kind"), [("deep", "PNG"), ("deep", "TIFF"), ("plain", "PNG"), ("plain", "JPEG")])
def test_a_lack_of_memory_says_nothing_about_the_file(depth: str, kind: str) -> None:
    command = [sys.executable, "-c", OUT_OF_MEMORY, depth, kind]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == "out of memory\n", ended.stderr


def test_flags_are_what_is_notable_of_a_file() -> None:
    def flags(image: Image.Image, kind: str = "PNG", **how: object) -> set[str]:
        return set(decode.check(encoded(image, kind, **how)).flags)

    exif = Image.Exif()
    exif[0x0112] = 6
    almost_grey = Image.new("RGB", (20, 20), (9, 9, 9))
    almost_grey.putpixel((19, 19), (9, 9, 10))
    assert flags(noise(1)) == flags(noise(1), "JPEG") == flags(almost_grey) == set()
    assert flags(noise(1).convert("L")) == flags(noise(1).convert("L").convert("RGB")) == {"grayscale"}
    assert flags(noise(1).convert("RGBA")) == {"alpha"}
    assert flags(noise(1), "JPEG", exif=exif) == {"rotated"}
    assert set(decode.check(deep(16)).flags) == {"grayscale", "deep"}
