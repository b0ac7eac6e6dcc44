"""Indexes are kept in memory within a bound of bytes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from models.datasets import pack
from service.byte_cache import ByteCache
from service.datasets import pack_index
from service.datasets.pack_index import PackIndex, read_index
from service.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 5000


def write(storage: Storage, key: str, *, is_multi_label: bool = False) -> None:
    with storage.writing(key) as file:
        entries = [
            pack.Entry(number.to_bytes(32, "little"), 0, 1, 9, 9, labels, "", f"folder/{number}.jpg")
            for number in range(IMAGES)
            for labels in [(0, 1) if is_multi_label and number % 2 else (number % 2,)]
        ]
        pack.write_index(file, entries)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_an_index_is_measured_as_large_as_it_is(tmp_path: Path, is_multi_label: bool) -> None:
    storage = Storage(str(tmp_path))
    write(storage, "index", is_multi_label=is_multi_label)
    with storage.reading("index") as file:
        content = file.read()
    tracemalloc.start()
    try:
        index = PackIndex.from_bytes(content)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.measure() == pytest.approx(taken, rel=0.15)


def test_indexes_beyond_the_bound_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    for key in "ab":
        write(storage, key)
    first = read_index(storage, "a")
    assert read_index(storage, "a") is first
    monkeypatch.setattr(pack_index, "_kept", ByteCache[PackIndex](first.measure() + 1))
    first, second = read_index(storage, "a"), read_index(storage, "b")
    assert read_index(storage, "b") is second
    assert read_index(storage, "a") is not first
