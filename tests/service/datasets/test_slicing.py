"""Slices of images by what the index of their pack knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.datasets import pack
from service.datasets.errors import SliceUnknown
from service.datasets.pack_index import read_index
from service.datasets.slicing import By, build_finder, check_name
from service.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from service.datasets.pack_index import PackIndex

IMAGES = [
    (31, 31, "a.PNG", (0,), ()),
    (32, 40, "x/a.b/one.jpeg", (1,), ("grayscale", "alpha")),
    (64, 81, "x/two.jpg", (0,), ()),
    (2048, 2047, "x/none", (0, 1), ()),
    (2048, 9000, ".hidden", (1,), ("rotated",)),
]


@pytest.fixture
def index(tmp_path: Path) -> PackIndex:
    """The index of IMAGES."""
    storage = Storage(str(tmp_path))
    with storage.writing("index") as file:
        entries = [
            pack.Entry(bytes([place]) * 32, 0, 1, width, height, labels, "", name, flags=frozenset(flags))
            for place, (width, height, name, labels, flags) in enumerate(IMAGES)
        ]
        pack.write_index(file, entries)
    return read_index(storage, "index")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("class", [["cat"], ["dog"], ["cat"], ["cat", "dog"], ["dog"]]),
        ("size", [["0-31"], ["32-63"], ["64-127"], ["1024-2047"], ["2048-"]]),
        ("shape", [["square"], ["square"], ["portrait"], ["square"], ["portrait"]]),
        ("flag", [["small"], ["grayscale", "alpha", "small"], [""], [""], ["rotated", "elongated"]]),
        ("format", [["png"], ["jpg"], ["jpg"], [""], ["hidden"]]),
        ("folder", [[""], ["x/a.b"], ["x"], ["x"], [""]]),
    ],
)
def test_what_each_image_is_sliced_into(index: PackIndex, by: By, expected: list[list[str]]) -> None:
    find = build_finder(index, ["cat", "dog"], by)
    assert [list(find(place)) for place in range(len(IMAGES))] == expected
    for names in expected:
        for name in names:
            check_name(by, name)


@pytest.mark.parametrize("by", ["class", "format", "folder"])
def test_what_is_called_none_is_not_what_has_none(tmp_path: Path, by: By) -> None:
    storage = Storage(str(tmp_path))
    with storage.writing("index") as file:
        entries = [
            pack.Entry(bytes([place]) * 32, 0, 1, 80, 80, labels, "", name)
            for place, (name, labels) in enumerate([("none/a.none", (0,)), ("b", ()), ("c.", (0, 1))])
        ]
        pack.write_index(file, entries)
    find = build_finder(read_index(storage, "index"), ["none", "other"], by)
    assert [next(iter(find(place))) for place in range(2)] == ["none", ""]


@pytest.mark.parametrize(("by", "name"), [("size", "64"), ("size", ""), ("shape", "round"), ("flag", "none")])
def test_a_slice_that_cannot_be_is_refused(by: By, name: str) -> None:
    with pytest.raises(SliceUnknown, match=by):
        check_name(by, name)
