"""Find architectures by the names and shapes of a file's tensors; several may have the same."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from models.backbones.state_dicts import compute_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def find_architectures(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Find the architectures of timm and torchvision with just these tensors, whatever their classifier's size."""
    found = []
    for classifiers, by_fingerprint in _read_table().items():
        found += by_fingerprint.get(compute_fingerprint(shapes, classifiers), [])
    return sorted(set(found), key=lambda name: (len(name), name))


@cache
def _read_table() -> dict[tuple[str, ...], dict[str, list[str]]]:
    """Read the names of architectures by the paths of their classifiers, and by their fingerprint."""
    table: dict[tuple[str, ...], dict[str, list[str]]] = {}
    with (files(__package__) / "fingerprints.csv").open() as opened:
        for row in csv.DictReader(opened):
            of_classifiers = table.setdefault(tuple(row["classifiers"].split()), {})
            of_classifiers.setdefault(row["fingerprint"], []).append(row["architecture"])
    return table
