"""Splits: stratified, decided by content, the same for everybody."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.errors import DatasetRejected
from models.datasets.pack import SPLIT_CODES, Entry
from models.datasets.splits import Split, check_splits, split

TRAIN, VALIDATION, TEST = 1, 2, 3


def digests(count: int) -> list[bytes]:
    """Make different digests."""
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_every_image_is_in_one_part_and_every_class_in_each(counts: list[int], validation: float, test: float) -> None:
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
    return [{of[image] for image in part} for part in (found.train, found.validation, found.test)]


def test_the_order_of_the_archive_changes_nothing() -> None:
    all_of = digests(60)
    labels = np.arange(60) % 3
    free = np.zeros(60, np.uint8)
    order = np.random.default_rng(0).permutation(60)
    shuffled = [all_of[place] for place in order]
    assert names(split(all_of, labels, free, 0.2, 0.2), all_of) == names(
        split(shuffled, labels[order], free, 0.2, 0.2), shuffled
    )


def test_a_image_that_is_added_moves_hardly_any_other() -> None:
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


def by_class(of: list[bytes], labels: np.ndarray, given: np.ndarray, validation: float, test: float) -> np.ndarray:
    """The part of each image of one class: of each class by itself, the first in the order of digests."""
    parts = np.where(given == 0, TRAIN, given)
    for part, fraction, keep in ((TEST, test, 2), (VALIDATION, validation, 1)):
        for label in () if part in given else np.unique(labels):
            free = np.flatnonzero((labels == label) & (parts == TRAIN))
            wanted = max(1, round(int((labels == label).sum()) * fraction))
            parts[sorted(free, key=of.__getitem__)[: max(0, min(wanted, len(free) - keep))]] = part
    return parts


@pytest.mark.parametrize("seed", range(100))
def test_images_of_one_class_are_split_class_by_class(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, random.integers(1, 7), random.integers(1, 80))
    given = random.choice(4, len(labels), p=random.dirichlet(np.full(4, 0.3)))
    of = [digests(len(labels))[place] for place in random.permutation(len(labels))]
    fractions = random.uniform(0, 0.6, 2)
    parts = by_class(of, labels, given, *fractions)
    for encoded in (labels, np.eye(7)[labels]):
        found = split(of, encoded, given, *fractions)
        for part, images in ((TRAIN, found.train), (VALIDATION, found.validation), (TEST, found.test)):
            np.testing.assert_array_equal(images, np.flatnonzero(parts == part))


def several_classes(random: np.random.Generator, images: int, classes: int, density: float) -> np.ndarray:
    """Multi-hot labels, of common classes and rare ones: an image has one class or more, a class three images."""
    hot = random.random((images, classes)) < density * random.uniform(0, 2, classes)
    for shift in range(3):
        hot[(np.arange(classes) + shift * 7) % images, np.arange(classes)] = True
    hot[np.arange(images), random.integers(0, classes, images)] = True
    return hot.astype(np.float32)


@pytest.mark.parametrize("seed", range(100))
def test_of_several_classes_each_has_its_images_unless_another_needs_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    hot = several_classes(random, int(random.integers(21, 90)), int(random.integers(2, 12)), random.uniform(0, 0.5))
    fractions = random.uniform(0.05, 0.4, 2)
    found = split(digests(len(hot)), hot, np.zeros(len(hot), np.uint8), *fractions)
    together = np.concatenate([found.train, found.validation, found.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(hot)))
    train, validation, test = (hot[part].sum(0) for part in (found.train, found.validation, found.test))
    assert (train >= 1).all()
    trained = hot[found.train]
    for label in np.flatnonzero(validation == 0):
        assert (trained[trained[:, label] > 0][:, train == 1]).any(1).all(), "each is the only one of another class"
    kept = hot[np.concatenate([found.train, found.validation])]
    for label in np.flatnonzero(test == 0):
        assert (kept[kept[:, label] > 0][:, train + validation <= 2]).any(1).all()


@pytest.mark.parametrize("seed", range(10))
def test_of_several_classes_each_is_split_in_proportion(seed: int) -> None:
    hot = several_classes(np.random.default_rng(seed), 1000, 20, 0.1)
    found = split(digests(1000), hot, np.zeros(1000, np.uint8), 0.2, 0.1)
    for part, fraction in ((found.validation, 0.2), (found.test, 0.1)):
        counts, wanted = hot[part].sum(0), hot.sum(0) * fraction
        assert (np.abs(counts - wanted) <= np.maximum(2, 0.3 * wanted)).all()


def test_a_class_that_is_never_the_first_is_in_every_part() -> None:
    for rare in range(0, 36, 4):
        hot = np.array([[1, 0]] * 40)
        hot[rare : rare + 3, 1] = 1
        found = split(digests(40), hot, np.zeros(40, np.uint8), 0.1, 0.1)
        assert [hot[part, 1].sum() for part in (found.train, found.validation, found.test)] == [1, 1, 1]
        assert [len(part) for part in (found.train, found.validation, found.test)] == [32, 4, 4]


def test_the_order_of_the_archive_changes_nothing_for_several_classes() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        all_of, hot, order = digests(60), several_classes(random, 60, 6, 0.3), random.permutation(60)
        shuffled = [all_of[place] for place in order]
        assert names(split(all_of, hot, np.zeros(60), 0.2, 0.2), all_of) == names(
            split(shuffled, hot[order], np.zeros(60), 0.2, 0.2), shuffled
        )


def entries(*classes: list[str]) -> list[Entry]:
    """Images by class and given split."""
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
    images = entries(*classes)
    labels = np.array([entry.labels[0] for entry in images])
    codes = np.array([SPLIT_CODES.index(entry.split) for entry in images])
    found = split([entry.digest for entry in images], labels, codes, validation, test)
    can_train = set(labels[found.train]) == set(labels) and len(found.validation) > 0
    try:
        check_splits(images, [f"class {number}" for number in range(len(classes))])
    except DatasetRejected:
        assert not can_train
    else:
        assert can_train


@pytest.mark.parametrize(
    ("classes", "code", "says"),
    [
        ((["test"] * 3, ["test"] * 3), "nothing_to_train_on", "of cat, dog are in"),
        ((["train"] * 3, ["validation"] * 3), "nothing_to_train_on", "of dog are in"),
        ((["train", "test", "test"], ["train", "test"]), "nothing_to_validate_on", "of a class (cat, dog)"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(classes: tuple[list[str], ...], code: str, says: str) -> None:
    with pytest.raises(DatasetRejected) as caught:
        check_splits(entries(*classes), ["cat", "dog"])
    assert caught.value.code == code
    assert says in str(caught.value)


@pytest.mark.parametrize("seed", range(200))
def test_several_classes_that_pass_the_check_can_be_trained_on_whatever_the_fractions(seed: int) -> None:
    random = np.random.default_rng(seed)
    hot = several_classes(random, int(random.integers(5, 12)), int(random.integers(2, 6)), random.uniform(0, 0.3))
    given = random.choice(4, len(hot), p=random.dirichlet(np.full(4, 0.7)))
    images = [
        Entry(digest, 0, 1, 8, 8, tuple(np.flatnonzero(row).tolist()), SPLIT_CODES[code], "a.png")
        for digest, row, code in zip(digests(len(hot)), hot, given, strict=True)
    ]
    found = split(digests(len(hot)), hot, given, *random.uniform(0, 0.6, 2))
    assert set(np.flatnonzero(given == VALIDATION)) <= set(found.validation)
    assert set(np.flatnonzero(given == TEST)) <= set(found.test)
    can_train = hot[found.train].any(0).all() and len(found.validation) > 0
    try:
        check_splits(images, [f"class {number}" for number in range(hot.shape[1])])
    except DatasetRejected:
        assert not can_train
    else:
        assert can_train


def test_the_message_names_the_classes_that_lack_images() -> None:
    rows = [((0, 1), "train"), ((0, 2), "train"), ((1,), "test"), ((2,), "test")]
    images = [
        Entry(digest, 0, 1, 8, 8, labels, given, "a.png")
        for digest, (labels, given) in zip(digests(4), rows, strict=True)
    ]
    with pytest.raises(DatasetRejected) as caught:
        check_splits(images, ["cat", "dog", "owl"])
    assert caught.value.code == "nothing_to_validate_on"
    assert "of a class (dog, owl)" in str(caught.value)


def test_classes_of_splits_that_are_written_otherwise_are_named() -> None:
    with pytest.raises(DatasetRejected, match="Written alike, but different: Cat, cat") as caught:
        check_splits(entries(["train"] * 3, ["validation"] * 3, ["train"] * 2), ["Cat", "cat", "owl"])
    assert "of cat are in" in str(caught.value)
