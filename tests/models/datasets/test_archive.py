"""Archives from strangers: the malicious ones are refused by name, the ordinary ones read whole."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from typing import IO, TYPE_CHECKING

import pytest

from models.datasets.archive import Limits, members
from models.datasets.errors import DatasetRejected
from tests.pictures import write_tar, write_zip

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(bytes=1 << 20, files=100)
FILES = {"cats/1.png": b"one", "cats/deep/2.png": b"two" * 1000, "dogs/3.png": b""}


def contents(file: IO[bytes], limits: Limits = LIMITS) -> dict[str, bytes]:
    """All files of an archive."""
    return {str(member.path): member.read() for member in members(file, limits)}


def rejected(data: bytes, limits: Limits = LIMITS) -> str:
    """The code under which an archive is refused."""
    with pytest.raises(DatasetRejected) as caught:
        contents(io.BytesIO(data), limits)
    assert len(str(caught.value)) > 20, "it says what to do"
    return caught.value.code


def tar_of(*entries: tarfile.TarInfo) -> bytes:
    """A tar of odd entries."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return file.getvalue()


def zip_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    """A zip of odd entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_ordinary_archives_are_read_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        write_zip(path, FILES)
    else:
        write_tar(path, FILES, "w:gz" if kind == "tar.gz" else "w")
    with path.open("rb") as file:
        assert contents(file) == FILES


@pytest.mark.parametrize(
    "name", ["../up.png", "a/../../b.png", "/etc/x.png", "C:/x.png", "a\\b.png", "a/\x07.png", "n" * 300]
)
def test_names_that_leave_their_folder_are_refused(name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = 1
    assert rejected(tar_of(entry)) == "archive_unsafe_path"
    assert rejected(zip_of((name, b"x"))) == "archive_unsafe_path"


def test_links_and_devices_are_refused() -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link = tarfile.TarInfo("cats/1.png")
        link.type, link.linkname = kind, "/etc/passwd"
        assert rejected(tar_of(link)) == "archive_link"
    device = tarfile.TarInfo("cats/null")
    device.type = tarfile.CHRTYPE
    assert rejected(tar_of(device)) == "archive_not_a_file"
    link_in_zip = zipfile.ZipInfo("cats/1.png")
    link_in_zip.external_attr = 0o120777 << 16
    assert rejected(zip_of((link_in_zip, b"/etc/passwd"))) == "archive_link"


def test_nested_empty_and_doubled_are_refused() -> None:
    assert rejected(zip_of(("inner.zip", b"PK"))) == "archive_nested"
    assert rejected(zip_of()) == "archive_empty"
    assert rejected(zip_of(("Cat.png", b"1"), ("cat.png", b"2"))) == "archive_duplicate_name"


def test_limits_hold_before_anything_is_unpacked() -> None:
    assert rejected(zip_of(("a.png", b"x" * 100)), Limits(99, 9)) == "archive_too_large"
    assert rejected(zip_of(("a.png", b"x"), ("b.png", b"x")), Limits(99, 1)) == "archive_too_large"
    entry = tarfile.TarInfo("a.png")
    entry.size = 100
    assert rejected(tar_of(entry), Limits(99, 9)) == "archive_too_large"
    bomb = zip_of(("zeros.png", bytes(100 << 20)))
    assert len(bomb) < 200_000
    assert rejected(bomb, Limits(1 << 40, 9)) == "archive_too_large"


def test_overlapping_files_are_refused() -> None:
    data = bytearray(zip_of(("a.png", b"x" * 50), ("b.png", b"y" * 50)))
    second = data.rfind(b"PK\x01\x02")
    offset = struct.unpack("<I", data[second + 42 : second + 46])[0]
    data[second + 42 : second + 46] = struct.pack("<I", offset - 20)
    assert rejected(bytes(data)) in {"archive_overlapping", "archive_unreadable"}


def test_an_encrypted_zip_is_refused() -> None:
    data = bytearray(zip_of(("a.png", b"secret")))
    central = data.find(b"PK\x01\x02")
    data[central + 8] |= 1
    assert rejected(bytes(data)) == "archive_encrypted"


@pytest.mark.parametrize("size", [1 << 30, 1 << 20])
def test_a_header_that_claims_gigabytes_is_refused(size: int) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, size
    assert rejected(header.tobuf() + bytes(2048)) == "archive_unreadable"


@pytest.mark.parametrize("kept", [0.31, 0.62, 0.83])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    files = {f"cats/{number}.png": bytes([number]) * 5000 for number in range(20)}
    path = tmp_path / "a"
    if kind == "zip":
        write_zip(path, files)
    else:
        write_tar(path, files, "w:gz" if kind == "tar.gz" else "w")
    whole = path.read_bytes()
    if kind == "tar":
        whole = whole[: 20 * 5632]  # without the padding, whose loss harms nothing
    assert rejected(whole[: int(len(whole) * kept)]) == "archive_unreadable"


def test_no_archive_at_all_is_refused() -> None:
    assert rejected(b"GIF89a, a picture and no archive" * 40) == "archive_unreadable"
