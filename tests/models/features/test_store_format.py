"""The feature store's files: the bytes that earlier releases wrote, and read."""

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


def store(folder: Path) -> FeatureStore:
    """A store of rows of 8 numbers."""
    return FeatureStore(FeatureCache(folder), {"trunk": "t"}, (8,), np.dtype(np.float16))


def rows(*numbers: int) -> np.ndarray:
    """The rows of these images: each holds its number and its places."""
    return np.array([[number * 8 + place for place in range(8)] for number in numbers], np.float16)


def test_a_cache_that_an_earlier_release_wrote_is_read(tmp_path: Path) -> None:
    folder = store(tmp_path / "other").folder.name
    (tmp_path / folder).mkdir()
    for shard, numbers in (("01795891568809314909", (1, 2)), ("01795891569999438644", (3, 1))):
        values = [struct.pack("<8e", *rows(number)[0].tolist()) for number in numbers]
        records = [
            struct.pack("<32sIIf", number.to_bytes(32, "big"), 7, zlib.crc32(row), 0.5)
            for number, row in zip(numbers, values, strict=True)
        ]
        (tmp_path / folder / f"{shard}.rows").write_bytes(b"".join(values))
        (tmp_path / folder / f"{shard}.index").write_bytes(b"".join(records))
    reader = store(tmp_path)
    np.testing.assert_array_equal(read(reader, [3, 1, 2], 7), rows(3, 1, 2))
    assert missing(reader, [1, 2, 3], 0) == [1, 2, 3]
    assert reader.seconds(reader.find(digests([1, 2, 3]), 7)) == 1.5


def test_what_is_written_is_to_the_byte_what_earlier_releases_wrote(tmp_path: Path) -> None:
    """The digests were taken of files that the release before the index of arrays had written."""
    writer = store(tmp_path)
    with writer.computing():
        writer.append(digests([1, 2, 3]), 0, rows(1, 2, 3), 0.5)
        writer.append(digests([2]), 4, rows(9).astype(np.float32), 0.25)
    assert writer.folder.name == "195617920d2ae8bb18d31baf67b3475f"
    assert {file.suffix or file.name: _sha256(file) for file in writer.folder.iterdir()} == {
        ".index": "82b14d66cd42c0bacf98e206d70e14915b360b1afd9021cbf997da1f58bb1a41",
        ".rows": "d51c7eafa3f729e5a1f3e027e5886eeac297a87dfd1065fad1fb24cf5ec29a02",
        ".json": "195617920d2ae8bb18d31baf67b3475f1844bc39aa61777933a2e19f8d6be9e4",
        "lock": hashlib.sha256().hexdigest(),
    }


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_record_has_no_padding() -> None:
    assert RECORD.itemsize == 32 + 4 + 4 + 4
