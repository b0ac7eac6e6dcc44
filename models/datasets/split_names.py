"""Recognize the names that people give to the splits of a dataset: train, valid, test_set, val2017."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TRAIN, VALIDATION, TEST = "train", "validation", "test"
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "vali"), VALIDATION),
    **dict.fromkeys(("dev", "devel", "development", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "tests", "testing", "tst", "holdout", "heldout"), TEST),
}
"""Words for the splits. `dev` and `eval` count as validation, `holdout` as test."""
FILLERS = {
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "photo", "photos", "pic", "pics",
    "split", "splits", "subset", "part", "partition", "folder", "dir", "files", "file", "label", "labels", "labeled",
    "labelled", "annotation", "annotations", "classes", "metadata", "meta", "info", "csv", "list", "final", "full",
    "all", "new", "my", "the", "public", "private", "jpg", "jpeg", "png", "raw", "crop", "cropped", "resized", "small",
    "large", "big", "mini", "tiny", "v", "px", "x", "k", "fold", "out", "and", "batch",
}  # fmt: skip
"""Words that change nothing beside the word of a split."""
SHORT = {"imagestr": TRAIN, "imagests": TEST, "imagesval": VALIDATION}
"""Names of the Medical Segmentation Decathlon."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def parse_split(name: str) -> str | None:
    """Parse a name as that of a split: None if it has other words, or words of several splits."""
    split, others = _parse(name)
    return None if others else split


def parse_splits(names: Iterable[str]) -> dict[str, str]:
    """Parse the names of folders beside each other: `seg_train` and `seg_test` share their other words."""
    parsed = {name: _parse(name) for name in names}
    alike: dict[tuple[str, ...], set[str]] = {}
    for split, others in parsed.values():
        if split is not None:
            alike.setdefault(others, set()).add(split)
    return {
        name: split
        for name, (split, others) in parsed.items()
        if split is not None and (not others or len(alike[others]) > 1)
    }


def describe_splits(splits: Mapping[str, str]) -> str:
    """Describe which names stand for which splits, for a report."""
    return ", ".join(name if name.lower() == split else f"{name} ({split})" for name, split in sorted(splits.items()))


def _parse(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Parse a name into its split and its other words."""
    words = [word.lower() for word in _WORD.findall(name)]
    if "".join(words) in SHORT:
        return SHORT["".join(words)], ()
    if words[:2] in (["hold", "out"], ["held", "out"]):
        words = ["holdout", *words[2:]]
    found, others = set(), []
    for word in words:
        split = _parse_word(word)
        if split is not None:
            found.add(split)
        elif word not in FILLERS:
            others.append(word)
    if found == {TRAIN, VALIDATION}:
        found = {TRAIN}  # train_val: all that is not for the test
    is_clear = len(found) == 1 and name.isascii()  # words of other scripts were not read
    return (found.pop() if is_clear else None), tuple(others)


def _parse_word(word: str) -> str | None:
    """Parse a word, also one joined with a filler: `trainset`, `testimages`, `imgtrain`."""
    if word in WORDS:
        return WORDS[word]
    for known, split in WORDS.items():
        if (word.startswith(known) and word[len(known) :] in FILLERS) or (
            word.endswith(known) and word[: -len(known)] in FILLERS
        ):
            return split
    return None
