"""Packs are read as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.datasets.pack import Entry, Pack, write_index

if TYPE_CHECKING:
    from pathlib import Path


def test_an_index_holds_pictures_of_any_size(tmp_path: Path) -> None:
    entries = [
        Entry(b"\1" * 32, 0, 3, 70_000, 8, (1,), "train", "dog/é.png"),
        Entry(b"\2" * 31 + b"\0", 3, 4, 8, 70_000, (0,), "", "cat/1.png"),
    ]
    (tmp_path / "pack").write_bytes(b"dogcats")
    with (tmp_path / "index").open("wb") as index:
        write_index(index, entries)
    pack = Pack(tmp_path / "pack", tmp_path / "index")
    assert [pack.encoded(place) for place in range(len(pack))] == [b"dog", b"cats"]
    assert pack.digests == [entry.digest for entry in entries]
    assert pack.names == ["dog/é.png", "cat/1.png"]
    assert pack.labels.tolist() == [1, 0]
    assert pack.splits.tolist() == [1, 0]
