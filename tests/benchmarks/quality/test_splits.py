"""Splits of the battery: stratified, by their seed alone, and of the test's style where a set has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.quality import splits
from benchmarks.quality.splits import PackedSet, draw_split
from tests.support.images import coloured_classes, write_zip

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LABELS = np.arange(200) % 4


def test_a_split_is_stratified_and_of_its_seed() -> None:
    first, same, other = (draw_split(LABELS, [""] * 200, seed) for seed in (0, 0, 1))
    assert [len(part) for part in (first.train, first.validation, first.test)] == [120, 30, 50]
    assert sorted(np.concatenate([first.train, first.validation, first.test])) == list(range(200))
    assert np.bincount(LABELS[first.train]).tolist() == [30] * 4
    assert (first.test == same.test).all()
    assert (first.test != other.test).any()


def test_given_test_images_are_the_only_ones_to_test_on() -> None:
    given = ["train"] * 120 + ["test"] * 80
    first, other = (draw_split(LABELS, given, seed) for seed in (0, 1))
    assert (len(first.train), len(first.validation), len(first.test)) == (96, 24, 50)
    assert first.test.min() >= 120 > max(first.train.max(), first.validation.max())
    assert (first.test != other.test).any()
    few = draw_split(LABELS, ["train"] * 160 + ["test"] * 40, 0)
    assert few.test.tolist() == list(range(160, 200))


def test_the_index_has_the_images_of_a_split_in_its_order(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "small.zip", coloured_classes(3, 20))
    packed = PackedSet.pack(archive, tmp_path / "set")
    images = packed.split(0)
    assert (len(images.split.train), len(images.split.validation), len(images.split.test)) == (36, 9, 15)
    assert len(images.pack) == 60
    numbers = {"train": 1, "validation": 2, "test": 3}
    assert all((images.pack.splits[getattr(images.split, part)] == number).all() for part, number in numbers.items())
    assert [images.classes[label] for label in images.labels] == [name.split("/")[0] for name in images.pack.names]


def test_of_more_images_a_stratified_sample_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "IMAGES", 30)
    archive = write_zip(tmp_path / "small.zip", coloured_classes(3, 20))
    first, again = (PackedSet.pack(archive, tmp_path / name) for name in ("first", "again"))
    assert [entry.name for entry in first.entries] == [entry.name for entry in again.entries]
    assert np.bincount([entry.labels[0] for entry in first.entries]).tolist() == [10] * 3
