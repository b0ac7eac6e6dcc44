"""Zips of all makers are read, damaged and malicious ones refused."""

from __future__ import annotations

import io
import struct
import zipfile
from random import Random

import pytest

from models.datasets.archives import Limits
from models.datasets.archives.zip_reader import list_members
from models.datasets.errors import DatasetRejected
from tests.support.archives import LIMITS, contents, outcome, rejected, zip_of

FILES = {f"cats/{number}.png": bytes(Random(number).choices(b"abcdefgh", k=200)) for number in range(3)}


class Unseekable(io.RawIOBase):
    """A pipe: a zip that is written to it puts sizes behind the data."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def raw_name(data: bytes, written: str, stored: bytes) -> bytes:
    """The zip with a name of ASCII letters changed to other bytes, without the flag of UTF-8."""
    assert len(written) == len(stored)
    return data.replace(written.encode(), stored)


def test_a_zip_from_a_pipe_is_read() -> None:
    pipe = Unseekable()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert zipfile.ZipFile(io.BytesIO(pipe.written)).infolist()[0].flag_bits & 0x08
    assert contents(io.BytesIO(pipe.written)) == FILES


def test_a_zip64_is_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in FILES.items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    # The extra field of two sizes of 8 bytes; the version that is written beside it differs between releases of Python.
    assert file.getvalue().count(struct.pack("<HH", 1, 16)) == len(FILES)
    assert contents(io.BytesIO(file.getvalue())) == FILES


def test_names_are_read_as_windows_and_macos_write_them() -> None:
    many = zip_of(*((f"Mull/{number}.png", b"x") for number in range(9)), method=zipfile.ZIP_STORED)
    windows = contents(io.BytesIO(raw_name(many, "Mull/", "Müll/".encode("cp437"))))
    assert set(windows) == {f"Müll/{number}.png" for number in range(9)}
    macos = contents(io.BytesIO(raw_name(zip_of(("Muull/1.png", b"x")), "Muull", "Müll".encode())))
    assert macos == {"Müll/1.png": b"x"}


def test_names_in_another_encoding_are_refused() -> None:
    assert rejected(raw_name(zip_of(("abcd/1.png", b"x")), "abcd", "苹果".encode("gbk"))) == "archive_name_not_utf8"


@pytest.mark.parametrize(("method", "says"), [(9, "Deflate64"), (98, "PPMd"), (77, "method 77")])
def test_other_methods_are_named(method: int, says: str) -> None:
    data = bytearray(zip_of(("a.png", b"x"), method=zipfile.ZIP_STORED))
    data[data.find(b"PK\x01\x02") + 10] = method
    with pytest.raises(DatasetRejected, match=f"a.png: It is compressed by {says}") as caught:
        contents(io.BytesIO(bytes(data)))
    assert caught.value.code == "archive_method"


def test_bytes_before_the_archive_do_no_harm_and_bytes_behind_are_refused() -> None:
    whole = zip_of(*FILES.items())
    assert {member.name: member.read() for member in list_members(io.BytesIO(b"#!/bin/sh\n" + whole), LIMITS)} == FILES
    assert rejected(whole + b"x") == "archive_unreadable"
    assert outcome(whole + bytes(9)) == FILES


def test_a_comment_is_passed() -> None:
    file = io.BytesIO(zip_of(*FILES.items()))
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"made by hand"
    assert outcome(file.getvalue()) == FILES


def test_an_end_record_with_too_many_entries_is_refused_before_the_directory_is_read() -> None:
    data = bytearray(zip_of(*FILES.items()))
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 60_000, 60_000)
    data[data.find(b"PK\x01\x02")] = 0
    assert rejected(bytes(data)) == "archive_too_large"


def test_an_end_record_that_counts_other_entries_is_refused() -> None:
    data = bytearray(zip_of(*FILES.items()))
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 2, 2)
    assert rejected(bytes(data)) == "archive_unreadable"


def test_a_directory_of_many_blocks_is_read() -> None:
    names = [f"{'n' * 200}/{number}.png" for number in range(6000)]
    data = zip_of(*((name, b"") for name in names), method=zipfile.ZIP_STORED)
    assert list(contents(io.BytesIO(data), Limits(1 << 30, 10_000))) == names


def test_backslashes_part_folders() -> None:
    files = {"cats\\": b"", "cats\\1.png": b"1", "dogs\\old\\2.png": b"2"}
    assert contents(io.BytesIO(zip_of(*files.items()))) == {"cats/1.png": b"1", "dogs/old/2.png": b"2"}


def test_links_are_refused() -> None:
    link = zipfile.ZipInfo("cats/1.png")
    link.external_attr = 0o120777 << 16
    assert rejected(zip_of((link, b"/etc/passwd"))) == "archive_link"


def test_overlapping_files_are_refused() -> None:
    whole = zip_of(("a.png", b"x" * 50), ("b.png", b"y" * 50))
    data = bytearray(whole)
    second = data.rfind(b"PK\x01\x02")
    offset = struct.unpack("<I", data[second + 42 : second + 46])[0]
    data[second + 42 : second + 46] = struct.pack("<I", offset - 1)
    assert rejected(bytes(data)) == "archive_overlapping"
    assert outcome(whole) == {"a.png": b"x" * 50, "b.png": b"y" * 50}


def test_an_encrypted_zip_is_refused() -> None:
    data = bytearray(zip_of(("a.png", b"secret")))
    central = data.find(b"PK\x01\x02")
    data[central + 8] |= 1
    assert rejected(bytes(data)) == "archive_encrypted"


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_byte_is_refused_by_name_or_harms_nothing(method: int) -> None:
    whole = zip_of(*FILES.items(), ("Müll/ü.png", b"z" * 50), method=method)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x80
        outcome(bytes(changed))


@pytest.mark.parametrize("method", METHODS)
def test_every_cut_is_refused(method: int) -> None:
    whole = zip_of(*FILES.items(), method=method)
    for kept in range(len(whole)):
        assert rejected(whole[:kept]) == "archive_unreadable"
