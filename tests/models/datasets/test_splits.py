"""Splits: stratified, decided by content, the same for everybody."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.errors import DatasetRejected
from models.datasets.pack import SPLIT_CODES, Entry
from models.datasets.splits import Split, check, split

TRAIN, VALIDATION, TEST = 1, 2, 3


def digests(count: int) -> list[bytes]:
    """So many different digests."""
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_every_picture_is_in_one_part_and_every_class_in_each(
    counts: list[int], validation: float, test: float
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = split(digests(len(labels)), labels, np.zeros(len(labels), np.uint8), validation, test)
    together = np.concatenate([found.train, found.validation, found.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(labels)))
    for label, count in enumerate(counts):
        train, checked, tested = (
            np.count_nonzero(labels[part] == label) for part in (found.train, found.validation, found.test)
        )
        assert train >= 1
        assert checked >= 1
        assert tested >= (1 if count >= 3 else 0)
        assert tested <= max(1, round(count * test))
        assert checked <= max(1, round(count * validation))


def names(found: Split, of: list[bytes]) -> list[set[bytes]]:
    """The digests in each part."""
    return [{of[picture] for picture in part} for part in (found.train, found.validation, found.test)]


def test_the_order_of_the_archive_changes_nothing() -> None:
    all_of = digests(60)
    labels = np.arange(60) % 3
    free = np.zeros(60, np.uint8)
    order = np.random.default_rng(0).permutation(60)
    shuffled = [all_of[place] for place in order]
    assert names(split(all_of, labels, free, 0.2, 0.2), all_of) == names(
        split(shuffled, labels[order], free, 0.2, 0.2), shuffled
    )


def test_a_picture_that_is_added_moves_hardly_any_other() -> None:
    all_of = digests(101)
    labels = np.zeros(101, np.int64)
    before = names(split(all_of[:100], labels[:100], np.zeros(100, np.uint8), 0.2, 0.2), all_of)
    after = names(split(all_of, labels, np.zeros(101, np.uint8), 0.2, 0.2), all_of)
    assert sum(len(old - new) for old, new in zip(before, after, strict=True)) <= 2


def test_given_splits_are_kept_and_what_lacks_is_carved_from_the_training() -> None:
    labels = np.arange(40) % 2
    given = np.array([TRAIN] * 20 + [TEST] * 20, np.uint8)
    found = split(digests(40), labels, given, 0.2, 0.2)
    np.testing.assert_array_equal(found.test, np.arange(20, 40))
    assert len(found.validation) == 8
    assert set(found.validation) <= set(range(20))


def entries(*classes: list[str]) -> list[Entry]:
    """Pictures by class and given split."""
    given = [(label, split_given) for label, splits in enumerate(classes) for split_given in splits]
    return [
        Entry(digest, 0, 1, 8, 8, (label,), split_given, "a.png")
        for digest, (label, split_given) in zip(digests(len(given)), given, strict=True)
    ]


@given(
    classes=st.lists(st.lists(st.sampled_from(SPLIT_CODES), min_size=1, max_size=4), min_size=1, max_size=4),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_what_passes_the_check_can_be_trained_on_whatever_the_fractions(
    classes: list[list[str]], validation: float, test: float
) -> None:
    pictures = entries(*classes)
    labels = np.array([entry.labels[0] for entry in pictures])
    codes = np.array([SPLIT_CODES.index(entry.split) for entry in pictures])
    found = split([entry.digest for entry in pictures], labels, codes, validation, test)
    can_train = set(labels[found.train]) == set(labels) and len(found.validation) > 0
    try:
        check(pictures, [f"class {number}" for number in range(len(classes))])
    except DatasetRejected:
        assert not can_train
    else:
        assert can_train


@pytest.mark.parametrize(
    ("classes", "code", "says"),
    [
        ((["test"] * 3, ["test"] * 3), "nothing_to_train_on", "of cat, dog are given"),
        ((["train"] * 3, ["validation"] * 3), "nothing_to_train_on", "of dog are given"),
        ((["train", "test", "test"], ["train", "test"]), "nothing_to_validate_on", "(cat, dog) has one picture"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(classes: tuple[list[str], ...], code: str, says: str) -> None:
    with pytest.raises(DatasetRejected) as caught:
        check(entries(*classes), ["cat", "dog"])
    assert caught.value.code == code
    assert says in str(caught.value)
