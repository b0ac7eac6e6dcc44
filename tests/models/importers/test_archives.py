"""Archives of networks are unpacked safely: regular files under their own names, and nothing beside the folder."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from models.importers.archives import list_zip_names, read_zip_entry, unpack
from models.importers.errors import ImportRejected
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.archives import tar_entry, tar_of, zip_of
from tests.support.foreign_files import tar_with

if TYPE_CHECKING:
    from pathlib import Path


def unpack_bytes(data: bytes, tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "upload").write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir()
    files = unpack(tmp_path / "upload", folder, "net.zip", no_heartbeat)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("pack", [zip_of, tar_with])
def test_files_are_unpacked_without_those_of_systems(pack: object, tmp_path: Path) -> None:
    assert callable(pack)
    data = pack(("a/config.json", b"{}"), ("__MACOSX/a/config.json", b"x"), ("a/.DS_Store", b"x"), ("b", b"1"))
    assert unpack_bytes(data, tmp_path) == {"a/config.json": b"{}", "b": b"1"}


def make_link() -> bytes:
    link = tar_entry("model.onnx")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return tar_of(link)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (zip_of(("../out", b"1")), "archive_unsafe"),
        (zip_of(("/etc/out", b"1")), "archive_unsafe"),
        (make_link(), "archive_unsafe"),
        (zip_of(("a", b"1" * 5000))[:-30], "archive_damaged"),
        (tar_with(("a", b"1" * 5000))[:60], "archive_damaged"),
        (zip_of(("a", bytes(100 << 20))), "archive_too_large"),
    ],
    ids=["leaves the folder", "absolute", "link", "cut zip", "cut tar", "bomb"],
)
def test_unsafe_and_damaged_archives_are_rejected(data: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRejected) as caught:
        unpack_bytes(data, tmp_path)
    assert caught.value.code == code
    assert "net.zip" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_entries_of_a_zip_are_read_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(zip_of(("net/data.pkl", b"pickle"), ("net/version", b"3")))
    assert list_zip_names(path) == {"net/data.pkl", "net/version"}
    assert read_zip_entry(path, "data.pkl") == b"pickle"
    assert read_zip_entry(path, "constants.pkl") is None
