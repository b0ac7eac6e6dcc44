"""Names of splits, as public datasets spell them."""

from __future__ import annotations

import pytest

from models.datasets.split_names import describe_splits, parse_split, parse_splits


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (
            "train Train TRAIN training trainset training_set train-set TrainSet train_images imagesTr imgs_train",
            "train",
        ),
        ("my_train_data 01_train train2017 train_val trainval", "train"),
        ("val valid Validation val2017 validation-set dev devset eval eval_final_v2 imagesVal", "validation"),
        ("test Testing test-set TestSet test1 testimages PublicTest PrivateTest holdout hold-out imagesTs", "test"),
    ],
)
def test_splits_are_known_in_any_spelling(names: str, split: str) -> None:
    assert {name: parse_split(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_other_words_are_no_splits() -> None:
    names = "cat trains contest latest valve train_station bullet_train test_tube train_test images 训练train 1 devil"
    assert [name for name in names.split() if parse_split(name)] == []


def test_folders_that_share_their_other_words_are_splits() -> None:
    assert parse_splits(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}
    assert parse_splits(["train", "test", "test-multiple_fruits"]) == {"train": "train", "test": "test"}
    assert parse_splits(["bullet_train", "steam_train", "bus"]) == {}


def test_splits_are_described_with_what_they_stand_for() -> None:
    assert describe_splits({"Train": "train", "dev": "validation"}) == "Train, dev (validation)"
