"""Layouts as people make them."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets import layout
from models.datasets.errors import DatasetRejected


def folders(*names: str) -> dict[str, tuple[str, str]]:
    """Class and split of each path."""
    paths = [Path(name) for name in names]
    found = layout.read_folders(paths, [path for path in paths if path.suffix == ".png"])
    return {str(path): (place.labels[0], place.split) for path, place in found.annotations.items()}


def table(content: bytes, *names: str) -> layout.Layout:
    """The layout that a labels.csv gives."""
    return layout.read_table([Path(name) for name in names], Path("labels.csv"), content)


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


def test_what_stands_beside_splits_has_no_place() -> None:
    found = folders("train/cat/1.png", "val/cat/2.png", "docs/old/notes/read.me", "train/cat", "README")
    assert found == {"train/cat/1.png": ("cat", "train"), "val/cat/2.png": ("cat", "validation")}


@pytest.mark.parametrize("top", ["", "data/"])
def test_classes_called_train_and_test_are_classes(top: str) -> None:
    found = folders(f"{top}train/1.png", f"{top}test/2.png")
    assert found == {f"{top}train/1.png": ("train", ""), f"{top}test/2.png": ("test", "")}


def test_a_image_beside_the_classes_of_a_split_leaves_it_a_split() -> None:
    found = folders("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "train/stray.png")
    assert found["test/cat/3.png"] == ("cat", "test")
    assert "train/stray.png" not in found


def test_files_beside_the_class_folders_have_no_place() -> None:
    paths = [Path("cat/1.png"), Path("dog/2.png"), Path("stray.png")]
    assert layout.read_folders(paths, paths).unlabelled == [Path("stray.png")]


def test_a_table_gives_labels_and_splits() -> None:
    content = b'\xef\xbb\xbffile,label,split\r\n"a b.png",cat,train\r\nsub/c.png, dog ,VAL\r\ngone.png,cat,\r\n'
    found = table(content, "a b.png", "sub/c.png", "unlisted.png")
    assert found.annotations[Path("a b.png")] == layout.Annotation(("cat",), "train")
    assert found.annotations[Path("sub/c.png")] == layout.Annotation(("dog",), "validation")
    assert found.unlabelled == [Path("unlisted.png")]
    assert found.missing == ["gone.png"]


def test_a_table_names_files_as_any_system_does() -> None:
    found = table('file;label\nMu\u0308ll\\1.png;Mu\u0308ll\n./a,b.png;"x;y"\n'.encode(), "M\u00fcll/1.png", "a,b.png")
    assert found.annotations == {
        Path("M\u00fcll/1.png"): layout.Annotation(("M\u00fcll",), ""),
        Path("a,b.png"): layout.Annotation(("x;y",), ""),
    }


def test_several_labels_are_parted_by_bars() -> None:
    assert table(b"file,label\na.png,dog|cat|dog\n", "a.png").annotations[Path("a.png")].labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name,class\na.png,cat\n", "must begin with the line file,label"),
        (b"file,label\na.png,\n", "Line 2.*no label"),
        (b"file,label\na.png,cat\na.png,cat\n", "Line 3.*second time"),
        (b"file,label,split\na.png,cat,later\n", "use train, validation or test"),
        (b"file,label\n\xff.png,cat\n", "UTF-8"),
        (b"", "must begin with the line file,label"),
        (b'file,label\na.png,"cat\nb.png,dog\n', "Line 2.*unexpected end"),
        (b'"file,label\na.png,cat\n', "Line 1.*unexpected end"),
        (b'file,label\na.png,"cat\nb.png",dog\n', "Line 3.*quote that is never closed"),
        (b"file,label\na.png," + b"c" * 200_000, "Line 2.*limit"),
        (b"file,label\na.png,c\x00t\n", "Line 2.*control character"),
        (b"file,label\n\x07.png,cat\n", "Line 2.*control character"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(content: bytes, says: str) -> None:
    with pytest.raises(DatasetRejected, match=says) as caught:
        table(content, "a.png")
    assert caught.value.code == "labels_unreadable"
