"""Archives from strangers: the malicious ones are refused by name, the ordinary ones read whole."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import tarfile
from typing import TYPE_CHECKING

import pytest

from models.datasets import archives
from models.datasets.archives import Limits, reader
from models.datasets.errors import DatasetRejected
from tests.support.archives import contents, problems, rejected, tar_entry, tar_of, zip_of
from tests.support.images import write_tar, write_zip

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"cats/1.png": b"one", "cats/deep/2.png": b"two" * 1000, "dogs/3.png": b""}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_ordinary_archives_are_read_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        write_zip(path, FILES)
    else:
        write_tar(path, FILES, "w:gz" if kind == "tar.gz" else "w")
    with path.open("rb") as file:
        assert contents(file) == FILES


def test_an_archive_of_hidden_files_is_refused_by_name() -> None:
    with pytest.raises(DatasetRejected, match=r"hidden or a system's own, such as \.data/a/1\.png"):
        contents(io.BytesIO(zip_of((".data/a/1.png", b"x"))))


@pytest.mark.parametrize(
    "name", ["../up.png", "a/../../b.png", "..\\up.png", "a\\..\\..\\b.png", "/etc/x.png", "C:/x.png", "C:\\x.png"]
)
def test_names_that_leave_their_folder_are_refused(name: str) -> None:
    assert rejected(tar_of(tar_entry(name, 1))) == "archive_unsafe_path"
    assert rejected(zip_of((name, b"x"))) == "archive_unsafe_path"


def test_classes_that_differ_in_case_are_two() -> None:
    files = {"A/1.png": b"upper", "a/1.png": b"lower"}
    assert contents(io.BytesIO(zip_of(*files.items()))) == files


def test_junk_is_left_out_whatever_it_is_called() -> None:
    names = ["cats/Icon\r", "__MACOSX/cats/._1.png", "cats/.hidden\x07", ".git/inner.zip"]
    assert contents(io.BytesIO(zip_of(*((name, b"x") for name in names), ("cats/1.png", b"1")))) == {"cats/1.png": b"1"}
    assert list(contents(io.BytesIO(tar_of(*map(tar_entry, names), tar_entry("cats/1.png"))))) == ["cats/1.png"]
    link = tar_entry(".git/link")
    link.type = tarfile.SYMTYPE
    assert list(contents(io.BytesIO(tar_of(link, tar_entry("cats/1.png"))))) == ["cats/1.png"]
    assert rejected(zip_of((".DS_Store", b"x"))) == "archive_empty"


def test_nested_and_empty_archives_are_refused() -> None:
    assert rejected(zip_of(("inner.zip", b"PK"))) == "archive_nested"
    assert rejected(zip_of()) == "archive_empty"


def test_files_that_cannot_be_used_are_reported_beside_others() -> None:
    names = {"cats/line\nbreak.png", "cats/" + "\u56fe" * 100 + ".png", "/etc/x.png", "../up.png", "cats/inner.zip"}
    data = zip_of(*((name, b"x") for name in names), ("cats/1.png", b"1"), ("cats/.DS_Store", b"x"))
    assert contents(io.BytesIO(data)) == {"cats/1.png": b"1"}
    expected = dict.fromkeys(names, "archive_unsafe_path") | {"cats/inner.zip": "archive_nested"}
    assert problems(data) == expected | {"cats/.DS_Store": "system_file"}


def test_a_file_that_is_too_large_is_reported() -> None:
    large = tar_entry("large.png", reader.MAX_FILE_BYTES + 1)
    data = tar_of(tar_entry("cat.png")).rstrip(b"\0").ljust(1024, b"\0")[:512] + large.tobuf()
    with pytest.raises(DatasetRejected):
        list(reader.read_files(io.BytesIO(data), Limits(1 << 40, 9)))
    first, second = itertools.islice(reader.read_files(io.BytesIO(data), Limits(1 << 40, 9)), 2)
    assert (first.problem, second.problem[0]) == (None, "file_too_large")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_millions_of_empty_folders_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_ENTRIES", 50)
    folders = [tar_entry(f"{number}/") for number in range(400)]
    for folder in folders:
        folder.type = tarfile.DIRTYPE
    data = zip_of(*((folder.name, b"") for folder in folders))
    data = data if kind == "zip" else gzip.compress(tar_of(*folders))
    with pytest.raises(DatasetRejected, match=r"files and folders in .* so most are empty") as caught:
        contents(io.BytesIO(data), Limits(1 << 30, 10_000))
    assert caught.value.code == "archive_too_large"


def test_the_ratio_of_a_gzip_is_bounded() -> None:
    data = gzip.compress(tar_of(tar_entry("zeros.png", 100 << 20)))
    assert len(data) < 200_000
    assert rejected(data, Limits(1 << 40, 9)) == "archive_too_large"


def test_limits_hold_before_anything_is_unpacked() -> None:
    assert rejected(zip_of(("a.png", b"x" * 100)), Limits(99, 9)) == "archive_too_large"
    assert rejected(zip_of(("a.png", b"x"), ("b.png", b"x")), Limits(99, 1)) == "archive_too_large"
    assert rejected(tar_of(tar_entry("a.png", 100)), Limits(99, 9)) == "archive_too_large"
    assert rejected(tar_of(tar_entry("a.png"), tar_entry("b.png")), Limits(99, 1)) == "archive_too_large"
    bomb = zip_of(("zeros.png", bytes(100 << 20)))
    assert len(bomb) < 200_000
    assert rejected(bomb, Limits(1 << 40, 9)) == "archive_too_large"


def test_a_tar_whose_first_name_begins_like_a_zip_is_a_tar() -> None:
    assert contents(io.BytesIO(tar_of(tar_entry("PKG/1.png", 3)))) == {"PKG/1.png": b"xxx"}


def test_no_archive_at_all_is_refused() -> None:
    assert rejected(b"GIF89a, an image and no archive" * 40) == "archive_unreadable"
    assert rejected(b"") == "archive_unreadable"


def test_a_fault_of_the_storage_is_not_the_archives(tmp_path: Path) -> None:
    class Unreachable(io.BytesIO):
        """A file whose storage goes away after the first bytes."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2000:
                raise OSError(errno.EIO, "the storage is away")
            return super().read(size)

    path = write_tar(tmp_path / "a.tar", FILES, "w")
    with pytest.raises(OSError, match="the storage is away"):
        contents(Unreachable(path.read_bytes()))
