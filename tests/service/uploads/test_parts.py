"""Files in parts read as one file does."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import fsspec
import pytest

from service.storage import Storage
from service.uploads import parts
from service.uploads.repository import Part

if TYPE_CHECKING:
    from pathlib import Path

DATA = random.Random(0).randbytes(3_000_000)
CUTS = [0, 1, 1_000_000, 1_000_001, 2_500_000, len(DATA)]


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, or files that lie elsewhere as in a bucket, with an upload of DATA in parts."""
    fsspec.filesystem("memory").store.clear()
    storage = Storage(str(tmp_path / "storage") if request.param == "file" else "memory://bucket")
    listed = []
    for start, stop in pairwise(CUTS):
        with storage.writing(f"uploads/up_1/{start}") as file:
            file.write(DATA[start:stop])
        listed.append(Part(start, stop - start, str(start)))
    parts.write_list(storage, "up_1", listed)
    return storage


def test_it_reads_as_the_whole_file(storage: Storage) -> None:
    chance, plain = random.Random(1), io.BytesIO(DATA)
    with parts.reading(storage, "uploads/up_1") as file:
        assert file.read() == DATA
        for _ in range(200):
            offset, whence = chance.choice(
                [(chance.randrange(len(DATA) + 10), 0), (-chance.randrange(len(DATA)), 2), (0, 1)]
            )
            size = chance.choice([0, 1, 100, 70_000, 1_500_000])
            assert file.seek(offset, whence) == plain.seek(offset, whence)
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
        with pytest.raises(ValueError, match="before"):
            file.seek(-1)


def test_it_is_copied_to_a_path_of_this_machine(storage: Storage, tmp_path: Path) -> None:
    assert parts.local_path(storage, "uploads/up_1", tmp_path).read_bytes() == DATA


def test_a_file_in_one_piece_is_read_as_it_is(storage: Storage, tmp_path: Path) -> None:
    with storage.writing("datasets/ds_1/archive") as file:
        file.write(b"hello")
    with parts.reading(storage, "datasets/ds_1/archive") as file:
        assert file.read() == b"hello"
    assert parts.local_path(storage, "datasets/ds_1/archive", tmp_path).read_bytes() == b"hello"


def test_a_part_that_is_missing_is_not_found(storage: Storage) -> None:
    storage.delete("uploads/up_1/1000000")
    with parts.reading(storage, "uploads/up_1") as file, pytest.raises(FileNotFoundError):
        file.read()


def test_an_empty_file_has_no_parts(storage: Storage) -> None:
    parts.write_list(storage, "up_2", [])
    with parts.reading(storage, "uploads/up_2") as file:
        assert file.read() == b""
