"""Storage: a file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import fsspec
import pytest

from service.storage import BLOCK, Storage, StorageUnavailable
from tests.support.s3_server import serve_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3_server import S3Server

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A folder."""
    return Storage((tmp_path / "storage").as_uri())


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server of S3 that s3fs finds."""
    with serve_s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield server
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["file", "memory", "s3"])
def any_storage(request: pytest.FixtureRequest, storage: Storage) -> Storage:
    """A folder, or files that lie elsewhere, in a bucket for example."""
    if request.param == "file":
        return storage
    if request.param == "s3":
        request.getfixturevalue("s3")
        return Storage("s3://bucket/folder")
    fsspec.filesystem("memory").store.clear()
    return Storage("memory://bucket")


def test_what_was_written_is_read(any_storage: Storage, tmp_path: Path) -> None:
    storage = any_storage
    with storage.writing("a/b") as file:
        file.write(b"hello")
    with storage.reading("a/b") as file:
        file.seek(1)
        assert file.read() == b"ello"
    assert storage.local_path("a/b", tmp_path).read_bytes() == b"hello"


def test_a_block_that_raises_leaves_no_trace(storage: Storage, tmp_path: Path) -> None:
    def interrupted() -> None:
        with storage.writing("a/b") as file:
            file.write(b"half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        interrupted()
    with pytest.raises(FileNotFoundError), storage.reading("a/b"):
        pass
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_nothing_is_seen_before_the_end(storage: Storage) -> None:
    with storage.writing("a/b") as file:
        file.write(b"half")
        with pytest.raises(FileNotFoundError), storage.reading("a/b"):
            pass


def test_a_large_file_of_a_bucket_is_read_by_ranges(s3: S3Server, tmp_path: Path) -> None:
    storage = Storage("s3://bucket")
    content = bytes(range(256)) * (3 * BLOCK // 512)
    with storage.writing("a/large") as file:
        file.write(content)
    assert s3.objects == {"bucket/a/large": content}
    assert storage.read_range("a/large", 1000, 5) == content[1000:1005]
    with storage.reading("a/large") as file:
        file.seek(-3, 2)
        assert file.read() == content[-3:]
    (tmp_path / "here").write_bytes(content[1:])
    storage.put(tmp_path / "here", "b")
    assert storage.local_path("b", tmp_path).read_bytes() == content[1:]


def test_a_block_that_raises_leaves_no_trace_in_a_bucket(s3: S3Server) -> None:
    def interrupted(size: int) -> None:
        with Storage("s3://bucket").writing("a/b") as file:
            file.write(bytes(size))
            raise ConnectionError

    for size in (4, 3 * BLOCK):
        with pytest.raises(ConnectionError):
            interrupted(size)
    assert (s3.objects, s3.uploads) == ({}, {})


def test_a_file_of_this_machine_is_moved(any_storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"hello")
    any_storage.put(tmp_path / "here", "a/b")
    assert not (tmp_path / "here").exists()
    with any_storage.reading("a/b") as file:
        assert file.read() == b"hello"


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="there is no second file system")
def test_a_file_of_another_file_system_is_moved(storage: Storage) -> None:
    with TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        path = Path(folder, "here")
        path.write_bytes(b"hello")
        storage.put(path, "a/b")
        assert not path.exists()
    with storage.reading("a/b") as file:
        assert file.read() == b"hello"


def test_a_file_that_is_missing_is_not_found(any_storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        any_storage.local_path("a/b", tmp_path)


def test_a_storage_that_is_away_is_unavailable(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "storage").touch()  # a file where the folder was
    (tmp_path / "here").touch()
    with pytest.raises(StorageUnavailable):
        storage.put(tmp_path / "here", "a/b")
    with pytest.raises(StorageUnavailable):
        storage.local_path("a/b", tmp_path)
    assert (tmp_path / "here").exists()
    with pytest.raises(StorageUnavailable), storage.writing("a/b"):
        pass
    with pytest.raises(StorageUnavailable), storage.reading("a/b"):
        pass


def test_a_bucket_that_does_not_answer_is_unavailable(unreachable_storage: str) -> None:
    storage = Storage(unreachable_storage)
    with pytest.raises(StorageUnavailable):
        storage.list_old_files("a", 0)
    with pytest.raises(StorageUnavailable):
        storage.delete("a")


def test_a_folder_is_deleted_with_all_in_it_and_none_is_fine(any_storage: Storage) -> None:
    storage = any_storage
    for key in ("a/b", "a/c", "d/e"):
        with storage.writing(key) as file:
            file.write(b"x")
    storage.delete("a")
    storage.delete("a")
    with storage.reading("d/e") as file:
        assert file.read() == b"x"
    with pytest.raises(FileNotFoundError), storage.reading("a/b"):
        pass


def test_old_files_are_those_that_nobody_writes_to(any_storage: Storage) -> None:
    storage = any_storage
    for key in ("a/b/c", "a/d", "e/f"):
        with storage.writing(key) as file:
            file.write(b"x")
    assert storage.list_old_files("a", 3600) == []
    assert sorted(storage.list_old_files("a", -3600)) == ["a/b/c", "a/d"]
    assert storage.list_old_files("nothing", -3600) == []


def test_deleting_the_last_file_of_a_folder_removes_it(storage: Storage, tmp_path: Path) -> None:
    for key in ("a/b", "a/c"):
        with storage.writing(key) as file:
            file.write(b"x")
    storage.delete("a/b")
    assert [path.name for path in (tmp_path / "storage" / "a").iterdir()] == ["c"]
    storage.delete("a/c")
    storage.delete("a/c")
    assert list((tmp_path / "storage").iterdir()) == []


def test_a_storage_is_checked_by_what_it_needs(tmp_path: Path, unreachable_storage: str) -> None:
    Storage(str(tmp_path / "new" / "folder")).check()
    assert (tmp_path / "new" / "folder").is_dir()
    Storage("memory://bucket").check()
    (tmp_path / "file").touch()
    for url in (str(tmp_path / "file"), f"file://{tmp_path}/file/x", unreachable_storage):
        with pytest.raises(StorageUnavailable):
            Storage(url).check()
