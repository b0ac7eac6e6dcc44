"""Folders as people and public datasets arrange them: which level holds the classes."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets.errors import DatasetRejected
from models.datasets.folders import FolderLabels, read_folders


def read(*folders: str, each: int = 5) -> FolderLabels:
    """Read the folders of as many images in each; `each` may be changed as in cat/*2."""
    paths = []
    for folder in folders:
        name, _, count = folder.partition("*")
        paths += [Path(f"{name}{number}.png") for number in range(int(count or each))]
    return read_folders(paths)


def labels(*folders: str) -> dict[str, tuple[str, str] | None]:
    """Class and split of a file in each folder."""
    found = read(*folders)
    names = [folder.partition("*")[0] for folder in folders]
    return {name: found.find(Path(f"{name}0.png")) for name in names}


def refused(*folders: str) -> DatasetRejected:
    """Why these folders are refused."""
    with pytest.raises(DatasetRejected) as caught:
        read(*folders)
    return caught.value


def test_the_first_folders_are_the_classes() -> None:
    assert labels("cat/", "dog/old/") == {"cat/": ("cat", ""), "dog/old/": ("dog", "")}
    assert read("cat/", "dog/").notes == ["classes are the folders: cat, dog"]


@pytest.mark.parametrize("top", ["photos/", "photos/2024/", "a/b/c/d/", "images/", "my data/"])
def test_folders_around_all_others_are_passed(top: str) -> None:
    found = labels(f"{top}cat/", f"{top}dog/", f"{top}*1", "*1")
    assert found == {f"{top}cat/": ("cat", ""), f"{top}dog/": ("dog", ""), f"{top}": None, "": None}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "valid", "Testing"),
        ("training_set", "dev", "test_set"),
        ("train2017", "val2017", "test2017"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
        ("d/trainset", "d/eval", "d/hold-out"),
        ("images/train", "images/val", "images/test"),
    ],
)
def test_splits_are_known_in_any_spelling(train: str, validation: str, test: str) -> None:
    found = labels(*(f"{split}/{name}/" for split in (train, validation, test) for name in ("cat", "dog")))
    assert found[f"{train}/cat/"] == ("cat", "train")
    assert found[f"{validation}/dog/"] == ("dog", "validation")
    assert found[f"{test}/cat/"] == ("cat", "test")


@pytest.mark.parametrize("other", ["preview/", "docs/old/", "samples/*50", "extra/", "train/stray/deep/"])
def test_folders_beside_splits_are_no_classes(other: str) -> None:
    found = labels("train/cat/", "train/dog/", "val/cat/", "val/dog/", other)
    assert found["train/cat/"] == ("cat", "train")
    if not other.startswith("train"):
        assert found[other.partition("*")[0]] is None


def test_a_flat_test_split_is_unlabelled_whatever_its_share() -> None:
    found = read("train/cat/", "train/dog/", "test/*200")
    assert found.find(Path("test/0.png")) is None
    assert "the images of test/ have no class folders and are not used" in found.notes


def test_tiny_imagenet_has_a_folder_of_images_in_each_class() -> None:
    found = labels("train/n01/images/", "train/n02/images/", "val/images/", "test/images/")
    assert found["train/n01/images/"] == ("n01", "train")
    assert found["val/images/"] is found["test/images/"] is None


def test_splits_inside_the_classes_are_read() -> None:
    found = labels("cat/train/", "cat/val/", "dog/train/", "dog/val/")
    assert found["cat/val/"] == ("cat", "validation")
    assert found["dog/train/"] == ("dog", "train")


@pytest.mark.parametrize("above", [("fold1", "fold2"), ("camera_a", "camera_b"), ("amazon/images", "dslr/images")])
@pytest.mark.parametrize("names", [("cat", "dog", "owl"), ("b", "c", "d")])
def test_a_level_of_the_same_folders_is_not_that_of_the_classes(above: tuple[str, ...], names: tuple[str, ...]) -> None:
    found = read(*(f"{top}/{name}/" for top in above for name in names))
    assert found.classes == set(names)
    assert "which hold the same folders" in found.notes[0]


def test_numbered_folders_over_digits_hold_the_classes() -> None:
    assert read(*(f"fold{fold}/{digit}/" for fold in (1, 2) for digit in range(10))).classes == set("0123456789")
    assert read("cat/2023/", "cat/2024/", "dog/2023/", "dog/2024/").classes == {"cat", "dog"}


@pytest.mark.parametrize("part", ["patient", "session_", "2023-01-0", "Batch ", "s", ""])
def test_numbered_folders_in_each_class_are_parts_of_it(part: str) -> None:
    folders = [f"{name}/{part}{number}/" for name in ("cat", "dog") for number in (1, 2, 3)]
    assert read(*folders).classes == {"cat", "dog"}


def test_numbered_classes_below_other_folders_are_the_classes() -> None:
    folders = [f"{eye}/grade{number}/" for eye in ("left", "right") for number in (0, 1, 2)]
    assert read(*folders).classes == {"grade0", "grade1", "grade2"}


def test_digits_over_numbered_parts_are_the_classes() -> None:
    assert read(*(f"{digit}/w{writer}/" for digit in range(3) for writer in (1, 2))).classes == {"0", "1", "2"}


def test_numbered_classes_with_some_of_the_same_folders_are_the_classes() -> None:
    folders = ("class1/left/", "class1/right/", "class2/right/", "class2/top/", "class3/left/", "class3/top/")
    assert read(*folders).classes == {"class1", "class2", "class3"}


def test_numbered_folders_around_some_of_the_classes_are_passed() -> None:
    assert read("patient1/cat/", "patient2/cat/", "patient2/dog/", "patient3/dog/").classes == {"cat", "dog"}
    subjects = ("p002/c0/", "p002/c1/", "p012/c1/", "p012/c2/", "p014/c0/", "p014/c2/")
    assert read(*subjects).classes == {"c0", "c1", "c2"}
    dates = ("2021-11-30/cat/", "2021-12-01/cat/", "2021-12-01/dog/", "2022-01-05/dog/")
    assert read(*dates).classes == {"cat", "dog"}


@pytest.mark.parametrize("name", ["lernen", "images", "all photos"])
def test_the_folder_beside_other_splits_with_their_classes_is_for_training(name: str) -> None:
    classes = [f"{name}/cat/", f"{name}/dog/", f"{name}/owl/"]
    found = labels(*classes, "val/cat/", "val/dog/", "test/cat/", "test/dog/")
    assert found[f"{name}/owl/"] == ("owl", "train")
    assert found["val/dog/"] == ("dog", "validation")
    found = labels(*classes, "test/cat/", "test/dog/")
    assert found[f"{name}/cat/"] == ("cat", "train")
    assert found["test/cat/"] == ("cat", "test")


def test_folders_that_differ_are_parts_of_their_class() -> None:
    assert read("cat/indoor/", "cat/outdoor/", "dog/").classes == {"cat", "dog"}
    assert read("apple/red/", "apple/green/", "pear/green/", "pear/yellow/").classes == {"apple", "pear"}


def test_images_beside_other_folders_hold_the_classes() -> None:
    found = read("images/cat/", "images/dog/", "docs/*2", "preview/*1")
    assert found.classes == {"cat", "dog"}
    assert found.find(Path("docs/0.png")) is None
    assert found.notes == [
        "only the images below images/ are used, not those of docs/, preview/",
        "classes are the folders below images/: cat, dog",
    ]


def test_masks_are_no_images_of_a_class() -> None:
    found = labels("COVID/images/", "COVID/masks/", "Normal/images/", "Normal/masks/")
    assert found["COVID/images/"] == ("COVID", "")
    assert found["Normal/masks/"] is None
    assert labels("images/cat/", "images/dog/", "masks/cat/", "masks/dog/")["masks/cat/"] is None


def test_auxiliary_folders_beside_classes_are_none_unless_they_are_large() -> None:
    assert read("cat/", "dog/", "docs/*2").classes == {"cat", "dog"}
    found = read("photos/", "memes/", "docs/*30")
    assert found.classes == {"photos", "memes", "docs"}
    assert "docs counts as a class in spite of the name" in found.notes


def test_a_class_called_test_is_a_class_and_is_noted() -> None:
    found = read("test/", "real/")
    assert found.classes == {"test", "real"}
    assert "test counts as a class in spite of the name" in found.notes
    assert read("train/", "bus/", "car/").classes == {"train", "bus", "car"}


def test_classes_that_differ_in_case_are_noted() -> None:
    found = read("Cat/", "cat/", "dog/")
    assert found.classes == {"Cat", "cat", "dog"}
    assert "the classes Cat, cat differ in case, spaces or decimals alone" in found.notes


@pytest.mark.parametrize(
    ("folders", "code", "says"),
    [
        (("train/", "valid/", "test/"), "no_class_folders", "test/ and train/ and valid/"),
        (("train/", "test/"), "no_class_folders", "labels.csv"),
        (("d/train/images/", "d/valid/images/"), "no_class_folders", "train/ and valid/"),
        (("images/",), "no_class_folders", "images"),
        (("",), "no_class_folders", "the archive"),
        (("images/", "masks/"), "no_class_folders", "class folders"),
        (("cat/",), "too_few_classes", "The only class is cat"),
        (("cat/", "docs/*2"), "too_few_classes", "docs beside the classes: not used, by the name"),
        (("images/", "cat/", "dog/"), "class_folders_unclear", "images stands beside cat, dog"),
        (
            ("a/a/train/x/", "a/a/train/y/", "a/a/test/x/", "b/b/x/", "b/b/y/"),
            "class_folders_unclear",
            "a/ has splits with folders in it, but b is beside it",
        ),
    ],
)
def test_folders_without_classes_are_refused_with_what_to_do(folders: tuple[str, ...], code: str, says: str) -> None:
    error = refused(*folders)
    assert error.code == code
    assert says in str(error)


@pytest.mark.parametrize("name", ["train/{}.{}.png", "{}_{}.jpg", "data/{} ({}).png", "{}{:04}.png"])
def test_classes_in_the_names_of_files_are_not_guessed(name: str) -> None:
    paths = [Path(name.format(word, number)) for word in ("cat", "dog") for number in range(5)]
    with pytest.raises(DatasetRejected, match=r"may tell the classes \(cat, dog\), but are not read") as caught:
        read_folders(paths)
    assert caught.value.code == "no_class_folders"


def test_deep_paths_are_read_to_a_bounded_depth() -> None:
    assert read("a/" * 500 + "cat/", "dog/").classes == {"a", "dog"}
