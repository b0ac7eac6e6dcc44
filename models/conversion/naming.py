"""Module paths from the names of a file's operators: layer1.0.conv1 of /layer1/layer1.0/conv1/Conv."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_DEPTH, MAX_LENGTH = 16, 160
"""Deepest path, and longest one, that a name gives."""
MAX_STAGES = 64
"""Most stages of a network without names."""
MEANINGLESS = re.compile(r"(StatefulPartitionedCall|PartitionedCall|node)$")
"""Parts of names that exporters add to every operator."""
BLOCK = re.compile(
    r"^(.*(?:block|stage|stack|cell|layer|module|unit|mixed|group|fire)_?\d*[a-z]?)_(.+)$", re.IGNORECASE
)
"""A name of Keras: that of a block, which has a number or a letter, and that of a layer in it."""


def split_scopes(name: str) -> list[str]:
    """Split the name of an operator into the names of the modules that it is in, without the operator's own.

    Torch's older exporter repeats the path in each part, as in /layer1/layer1.0/layer1.0.conv1/Conv: the longest stays.
    """
    parts = [part for part in name.split("/") if part and not MEANINGLESS.match(part)]
    scopes: list[str] = []
    for part in parts[:-1]:
        if scopes and part.startswith(f"{scopes[-1]}."):
            scopes[-1] = part
        else:
            scopes.append(part)
    return scopes


def clean_path(scopes: Sequence[str]) -> str:
    """Join names of modules to a path of letters, digits and underscores."""
    parts = [part for scope in scopes for part in scope.split(".") if part]
    cleaned = [re.sub(r"\W+", "_", part) for part in parts]
    return ".".join(cleaned[:MAX_DEPTH])[:MAX_LENGTH].strip(".")


def group_block_names(path: str) -> str:
    """Put the layers of a Keras block under the block: block_1.expand of block_1_expand."""
    first, *rest = path.split(".")
    match = BLOCK.match(first)
    if match is None or not re.search(r"\d", match[1]):
        return path
    return ".".join([match[1], match[2], *rest])


def strip_common_scope(paths: Iterable[Sequence[str]]) -> int:
    """Count the scopes that all operators share at their beginning: a model's own name."""
    filled = [path for path in paths if path]
    if len(filled) < 2:
        return 0
    return next((place for place, parts in enumerate(zip(*filled, strict=False)) if len(set(parts)) > 1), 0)


class ResolutionStages:
    """Paths of a file without names: stage.0 while maps are largest, stage.1 once they are smaller, ….

    Values without maps, such as vectors, belong to the stage before them.
    """

    def __init__(self) -> None:
        self._sides: list[int] = []

    def name_stage(self, shape: Sequence[int]) -> str:
        """Name the stage that a value of this shape (B, C, H, W) begins or belongs to."""
        side = max(shape[2:]) if len(shape) == 4 else 0
        if side and (not self._sides or side < self._sides[-1]) and len(self._sides) < MAX_STAGES:
            self._sides.append(side)
        return f"stage.{max(len(self._sides) - 1, 0)}"
