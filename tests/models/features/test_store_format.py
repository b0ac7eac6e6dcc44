"""File format of the feature store: byte for byte that of earlier releases."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from models.features.cache import FeatureCache
from models.features.shard import RECORD
from models.features.store import FeatureStore
from tests.support.stored_rows import digests, missing, read

if TYPE_CHECKING:
    from pathlib import Path


def open_store(folder: Path) -> FeatureStore:
    """Open a store of rows of 8 numbers."""
    return FeatureStore(FeatureCache(folder), {"trunk": "t"}, (8,), np.dtype(np.float16))


def make_rows(*numbers: int) -> np.ndarray:
    """Make rows of 8 consecutive numbers, different for each image."""
    return np.array([[number * 8 + column for column in range(8)] for number in numbers], np.float16)


def test_a_store_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    folder = open_store(tmp_path / "other").folder.name
    (tmp_path / folder).mkdir()
    for shard, numbers in (("01795891568809314909", (1, 2)), ("01795891569999438644", (3, 1))):
        values = [struct.pack("<8e", *make_rows(number)[0].tolist()) for number in numbers]
        records = [
            struct.pack("<32sIIf", number.to_bytes(32, "big"), 7, zlib.crc32(row), 0.5)
            for number, row in zip(numbers, values, strict=True)
        ]
        (tmp_path / folder / f"{shard}.rows").write_bytes(b"".join(values))
        (tmp_path / folder / f"{shard}.index").write_bytes(b"".join(records))
    reader = open_store(tmp_path)
    np.testing.assert_array_equal(read(reader, [3, 1, 2], 7), make_rows(3, 1, 2))
    assert missing(reader, [1, 2, 3], 0) == [1, 2, 3]
    assert reader.sum_seconds(reader.find(digests([1, 2, 3]), 7)) == 1.5


def test_files_are_byte_for_byte_those_of_earlier_releases(tmp_path: Path) -> None:
    """The digests are of files that the release before the hash table of numpy arrays wrote."""
    writer = open_store(tmp_path)
    with writer.lock():
        writer.append(digests([1, 2, 3]), 0, make_rows(1, 2, 3), 0.5)
        writer.append(digests([2]), 4, make_rows(9).astype(np.float32), 0.25)
    assert writer.folder.name == "195617920d2ae8bb18d31baf67b3475f"
    # The lock's file names its last holder; earlier releases, which empty it, are a holder too.
    assert {file.suffix: _hash_file(file) for file in writer.folder.iterdir() if file.name != "lock"} == {
        ".index": "82b14d66cd42c0bacf98e206d70e14915b360b1afd9021cbf997da1f58bb1a41",
        ".rows": "d51c7eafa3f729e5a1f3e027e5886eeac297a87dfd1065fad1fb24cf5ec29a02",
        ".json": "195617920d2ae8bb18d31baf67b3475f1844bc39aa61777933a2e19f8d6be9e4",
    }


def _hash_file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_record_has_no_padding() -> None:
    assert RECORD.itemsize == 32 + 4 + 4 + 4
