"""Random stratified splits of a set by a seed, and the packed set that all methods of a cell share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.quality.battery import IMAGES
from models.datasets.archives import Limits
from models.datasets.pack import Pack, write_index
from models.datasets.splits import Split
from models.datasets.validation import validate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.datasets.pack import Entry
    from models.images.decode import Decoding

TESTED, VALIDATED = 0.25, 0.2
"""Share of the images for the test, and of the others for validation: 60 : 15 : 25."""


@dataclass(frozen=True)
class PackedSet:
    """A set of images, packed as the service does."""

    folder: Path
    entries: list[Entry]
    classes: list[str]
    decoding: Decoding

    @classmethod
    def pack(cls, archive: Path, folder: Path) -> Self:
        """Pack an archive into the new folder; of more images than a set has, a stratified sample."""
        folder.mkdir(parents=True)
        with archive.open("rb") as file, (folder / "pack").open("wb") as pack:
            validated = validate(file, pack, Limits(1 << 40, 1 << 30))
        entries = list(validated.entries)
        if len(entries) > IMAGES:
            labels = [entry.labels[0] for entry in entries]
            places = np.arange(len(entries))
            kept, _ = train_test_split(places, train_size=IMAGES, stratify=labels, random_state=0)
            entries = [entries[place] for place in np.sort(kept).tolist()]
        return cls(folder, entries, [entry["name"] for entry in validated.classes], validated.decoding)

    def split(self, seed: int) -> SplitSet:
        """Split the images, and write their index."""
        labels = np.array([entry.labels[0] for entry in self.entries])
        chosen = draw_split(labels, [entry.split for entry in self.entries], seed)
        entries: list[Entry] = []
        for part in ("train", "validation", "test"):
            entries += [replace(self.entries[place], split=part) for place in getattr(chosen, part).tolist()]
        index = self.folder / f"{seed}.index"
        with index.open("wb") as file:
            write_index(file, entries, self.decoding)
        ends = np.cumsum([len(chosen.train), len(chosen.validation), len(chosen.test)])
        train, validation, test = np.split(np.arange(ends[-1]), ends[:-1])
        return SplitSet(self.folder / "pack", index, self.classes, Split(train, validation, test))


@dataclass(frozen=True)
class SplitSet:
    """A packed set with one split; its index holds the images of the split alone."""

    packed: Path
    index: Path
    classes: list[str]
    split: Split

    @cached_property
    def pack(self) -> Pack:
        """The images."""
        return Pack(self.packed, self.index)

    @property
    def labels(self) -> np.ndarray:
        """The class of each image, (n,)."""
        return self.pack.labels


def draw_split(labels: np.ndarray, given: Sequence[str], seed: int) -> Split:
    """Draw a stratified split of images with these labels.

    Where the set gives test images, of another style, as many as otherwise are drawn of these, and the others are
    divided between training and validation in the same ratio.
    """
    places = np.arange(len(labels))
    is_test = np.array([split == "test" for split in given])
    count = round(TESTED * len(labels))
    pool = places[is_test] if is_test.any() else places
    if count < len(pool):
        left, test = train_test_split(pool, test_size=count, stratify=labels[pool], random_state=seed)
    else:
        left, test = pool[:0], pool
    rest = places[~is_test] if is_test.any() else left
    train, validation = train_test_split(rest, test_size=VALIDATED, stratify=labels[rest], random_state=seed)
    return Split(np.sort(train), np.sort(validation), np.sort(test))
