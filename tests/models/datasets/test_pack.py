"""Packs are read as they were written."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.pack import Entry, Pack, write_index
from models.images.decode import Decoding

if TYPE_CHECKING:
    from pathlib import Path


def packed(folder: Path, entries: list[Entry], content: bytes = b"-") -> Pack:
    """A pack of these entries, written and read."""
    (folder / "pack").write_bytes(content)
    with (folder / "index").open("wb") as index:
        write_index(index, entries)
    return Pack(folder / "pack", folder / "index")


def test_an_index_holds_images_of_any_size(tmp_path: Path) -> None:
    entries = [
        Entry(b"\1" * 32, 0, 3, 70_000, 8, (1,), "train", "dog/é.png"),
        Entry(b"\2" * 31 + b"\0", 3, 4, 8, 70_000, (0,), "", "cat/1.png"),
    ]
    pack = packed(tmp_path, entries, b"dogcats")
    assert [pack.read_file(place) for place in range(len(pack))] == [b"dog", b"cats"]
    assert pack.digests.tolist() == [entry.digest for entry in entries]
    assert pack.names == ["dog/é.png", "cat/1.png"]
    assert pack.labels.tolist() == [1, 0]
    assert pack.splits.tolist() == [1, 0]


def test_images_of_one_class_have_one_hot_targets(tmp_path: Path) -> None:
    labels = [2, 0, 2, 1]
    pack = packed(tmp_path, [Entry(bytes([n]) * 32, 0, 1, 8, 8, (label,), "", "a") for n, label in enumerate(labels)])
    targets = pack.encode_targets(4)
    assert not pack.is_multi_label
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, np.eye(4)[labels])


def test_images_of_several_classes_have_multi_hot_targets(tmp_path: Path) -> None:
    labels = [(2,), (0, 1, 3), (1, 2)]
    pack = packed(tmp_path, [Entry(bytes([n]) * 32, 0, 1, 8, 8, each, "", "a") for n, each in enumerate(labels)])
    assert pack.is_multi_label
    assert pack.labels.tolist() == [2, 0, 1]
    assert pack.encode_targets(4).dtype == np.float32
    assert pack.encode_targets(4).tolist() == [[0, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0]]


def test_images_are_decoded_as_the_pack_says(tmp_path: Path) -> None:
    entry = Entry(b"\1" * 32, 0, 3, 8, 8, (0,), "", "a.png", lossless_digest=b"\3" * 32)
    other = Entry(b"\2" * 32, 0, 3, 8, 8, (0,), "", "b.png")
    (tmp_path / "pack").write_bytes(b"abc")
    with (tmp_path / "index").open("wb") as index:
        write_index(index, [entry, other], Decoding(depth=12))
    pack = Pack(tmp_path / "pack", tmp_path / "index")
    assert pack.decoding == Decoding(version=2, depth=12)
    assert pack.lossless_digests == [b"\3" * 32, b"\2" * 32]


def test_a_pack_of_an_earlier_release_is_decoded_by_version_1(tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"abc")
    header = b'{"names": ["a.png"]}'
    record = b"\1" * 32 + struct.pack("<QIIIIB", 0, 3, 8, 8, 0, 0)
    (tmp_path / "index").write_bytes(struct.pack("<Q", len(header)) + header + record)
    pack = Pack(tmp_path / "pack", tmp_path / "index")
    assert pack.decoding == Decoding(version=1)
    assert pack.lossless_digests == [b"\1" * 32]
