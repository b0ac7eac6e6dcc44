"""Layouts as people make them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets import layout
from models.datasets.errors import DatasetRejected


def folders(*names: str) -> dict[str, tuple[str, str]]:
    """Class and split of each path."""
    paths = [Path(name) for name in names]
    found = layout.by_folders(paths, [path for path in paths if path.suffix == ".png"])
    return {str(path): (place.labels[0], place.split) for path, place in found.places.items()}


def table(content: bytes, *names: str) -> layout.Layout:
    """The layout that a labels.csv gives."""
    return layout.by_table([Path(name) for name in names], Path("labels.csv"), content)


def test_the_first_folder_is_the_class() -> None:
    assert folders("cat/1.png", "dog/old/2.png") == {"cat/1.png": ("cat", ""), "dog/old/2.png": ("dog", "")}


def test_folders_that_all_share_are_stripped() -> None:
    found = folders("photos/2024/cat/1.png", "photos/2024/dog/2.png", "README.txt", "photos/LICENCE")
    assert found == {"photos/2024/cat/1.png": ("cat", ""), "photos/2024/dog/2.png": ("dog", "")}


def test_given_splits_are_kept() -> None:
    found = folders("d/Train/cat/1.png", "d/Train/dog/2.png", "d/valid/cat/3.png", "d/testing/dog/4.png")
    assert found["d/Train/cat/1.png"] == ("cat", "train")
    assert found["d/valid/cat/3.png"] == ("cat", "validation")
    assert found["d/testing/dog/4.png"] == ("dog", "test")


def test_a_class_called_test_is_a_class() -> None:
    assert folders("test/1.png", "real/2.png") == {"test/1.png": ("test", ""), "real/2.png": ("real", "")}


def test_files_beside_the_class_folders_have_no_place() -> None:
    paths = [Path("cat/1.png"), Path("dog/2.png"), Path("stray.png")]
    assert layout.by_folders(paths, paths).unlisted == [Path("stray.png")]


def test_junk_is_known() -> None:
    for name in ("__MACOSX/cat/1.png", ".hidden/1.png", "cat/.DS_Store", "cat/Thumbs.db"):
        assert layout.is_junk(Path(name))
    assert not layout.is_junk(Path("cat/1.png"))


def test_a_table_gives_labels_and_splits() -> None:
    content = b'\xef\xbb\xbffile,label,split\r\n"a b.png",cat,train\r\nsub/c.png, dog ,VAL\r\ngone.png,cat,\r\n'
    found = table(content, "a b.png", "sub/c.png", "unlisted.png")
    assert found.places[Path("a b.png")] == layout.Place(("cat",), "train")
    assert found.places[Path("sub/c.png")] == layout.Place(("dog",), "validation")
    assert found.unlisted == [Path("unlisted.png")]
    assert found.absent == ["gone.png"]


def test_several_labels_are_parted_by_bars() -> None:
    assert table(b"file,label\na.png,dog|cat|dog\n", "a.png").places[Path("a.png")].labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name,class\na.png,cat\n", "must begin with the line file,label"),
        (b"file,label\na.png,\n", "Line 2.*no label"),
        (b"file,label\na.png,cat\na.png,cat\n", "Line 3.*second time"),
        (b"file,label,split\na.png,cat,later\n", "use train, validation or test"),
        (b"file,label\n\xff.png,cat\n", "UTF-8"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(content: bytes, says: str) -> None:
    with pytest.raises(DatasetRejected, match=says) as caught:
        table(content, "a.png")
    assert caught.value.code == "labels_unreadable"
