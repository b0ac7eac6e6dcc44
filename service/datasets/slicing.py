"""Slices of a dataset's images by what is known of them: class, size, shape, flags; ending and folder of the file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from service.datasets.errors import SliceUnknown
from service.datasets.pack_index import FLAGS, MEASURED_FLAGS, RECORD, SIZE, SIZE_OFFSET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.datasets.pack_index import PackIndex

    Find = Callable[[int], Sequence[str]]
    """Finds the slices of the image at a place; it may be in several, as it may have several classes and flags."""

By = Literal["class", "size", "shape", "flag", "format", "folder"]
SIZES = ("0-31", "32-63", "64-127", "128-255", "256-511", "512-1023", "1024-2047", "2048-")
"""Pixels of the shorter side."""
SMALLEST_BITS = 5
"""Bits of the largest number in the first of SIZES."""
SHAPES = ("square", "landscape", "portrait")
"""Square: no side is more than a quarter longer than the other."""
HAS_NONE = ""
"""Name of the slice of what has no flag, no class, no ending or no folder: none of these is called so."""
NAMES: dict[By, tuple[str, ...]] = {
    "size": SIZES,
    "shape": SHAPES,
    "flag": (*FLAGS, *MEASURED_FLAGS, HAS_NONE),
}
"""Slices whose names do not depend on the dataset."""


def build_finder(index: PackIndex, classes: Sequence[str], by: By) -> Find:
    """Build the function that finds an image's slices."""
    if by == "class":
        return lambda place: [classes[number] for number in index.find_labels(place)] or [HAS_NONE]
    if by == "flag":
        return lambda place: index.find_flags(place) or [HAS_NONE]
    if by == "folder":
        return lambda place: [index.names[place].rpartition("/")[0]]
    if by == "format":
        return lambda place: [_find_ending(index.names[place])]
    return partial(_find_size if by == "size" else _find_shape, index.records)


def check_name(by: By, name: str) -> None:
    """Refuse the name of a slice that no image can be in; raises SliceUnknown."""
    if by in NAMES and name not in NAMES[by]:
        named = ", ".join(filter(None, NAMES[by]))
        empty = ", and the empty name of what has none" if HAS_NONE in NAMES[by] else ""
        raise SliceUnknown(f"By {by} there is no slice {name:.100}; there are {named}{empty}.")


def _find_size(records: bytes, place: int) -> list[str]:
    width, height = SIZE.unpack_from(records, place * RECORD.size + SIZE_OFFSET)
    bits = min(width, height).bit_length()
    return [SIZES[min(max(bits - SMALLEST_BITS, 0), len(SIZES) - 1)]]


def _find_shape(records: bytes, place: int) -> list[str]:
    width, height = SIZE.unpack_from(records, place * RECORD.size + SIZE_OFFSET)
    if 4 * max(width, height) <= 5 * min(width, height):
        return ["square"]
    return ["landscape" if width > height else "portrait"]


def _find_ending(name: str) -> str:
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    ending = ending.lower()
    return {"jpeg": "jpg", "tiff": "tif"}.get(ending, ending) if dot else HAS_NONE
