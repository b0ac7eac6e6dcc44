"""Names of files in zips, whose encoding is stated, recognized or refused, never guessed."""

from __future__ import annotations

import struct
import zlib

import pytest

from models.datasets.archives.zip_names import UTF8, decode_name
from models.datasets.errors import DatasetRejected


def unicode_path(name: str, stored: bytes, version: int = 1) -> bytes:
    """Make the extra field of the name in UTF-8, after another field."""
    body = struct.pack("<BI", version, zlib.crc32(stored)) + name.encode()
    return struct.pack("<HH4s", 0x5455, 4, b"time") + struct.pack("<HH", 0x7075, len(body)) + body


def test_stated_and_valid_utf8_is_read() -> None:
    assert decode_name("苹果/1.png".encode(), UTF8, b"") == "苹果/1.png"
    assert decode_name("Äpfel/1.png".encode(), 0, b"") == "Äpfel/1.png"
    assert decode_name(b"cat/1.png", 0, b"") == "cat/1.png"


def test_the_extra_field_of_the_name_counts_if_it_belongs_to_the_name() -> None:
    stored = "苹果/1.png".encode("gbk")
    assert decode_name(stored, 0, unicode_path("苹果/1.png", stored)) == "苹果/1.png"
    for extra in (
        unicode_path("苹果/1.png", b"another name"),
        unicode_path("苹果/1.png", stored, version=2),
        unicode_path("苹果/1.png", stored)[:-3],
    ):
        with pytest.raises(DatasetRejected):
            decode_name(stored, 0, extra)


@pytest.mark.parametrize("encoding", ["cp437", "cp850"])
@pytest.mark.parametrize(
    "name", ["Äpfel/Nüsse 1.png", "Größe/fête.png", "MÜLL/1.png", "señal_12.png", "crème brûlée.png"]
)
def test_western_words_of_dos_are_read(name: str, encoding: str) -> None:
    assert decode_name(name.encode(encoding), 0, b"") == name


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("苹果", "gbk"),
        ("香蕉", "gbk"),
        ("蘋果", "big5"),
        ("猫", "shift_jis"),
        ("犬", "shift_jis"),
        ("いぬ", "shift_jis"),
        ("ネコ", "shift_jis"),
        ("cat猫", "shift_jis"),
        ("고양이", "euc_kr"),
        ("Кот", "cp866"),
        ("ДОМ", "cp866"),
        ("собака", "cp1251"),
        ("γάτα", "cp737"),
        ("Müll", "latin-1"),
        ("Øre", "cp850"),
    ],
)
def test_other_names_are_refused_with_what_to_do(name: str, encoding: str) -> None:
    with pytest.raises(DatasetRejected, match="UTF-8 names: with 7-Zip") as caught:
        decode_name(f"{name}/1.png".encode(encoding), 0, b"")
    assert caught.value.code == "archive_name_not_utf8"


def test_a_flag_that_is_wrong_is_refused() -> None:
    with pytest.raises(DatasetRejected):
        decode_name("Müll".encode("cp437"), UTF8, b"")
