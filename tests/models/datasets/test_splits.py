"""Splits: stratified, decided by content, the same for everybody."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.splits import Split, split

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
