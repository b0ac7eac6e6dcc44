"""Layouts: which class, labels and split a file of an archive has, by its path or by labels.csv."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from models.datasets import names
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import PurePosixPath

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""Names of splits as people write them."""
TABLE = "labels.csv"
COLUMNS = ("file", "label", "split")
DELIMITERS = ",;"
"""Excel parts by semicolons where the comma is the decimal sign."""


@dataclass(frozen=True)
class Place:
    """Where an image belongs. Several labels only in a multi-label dataset; split "" where none is given."""

    labels: tuple[str, ...]
    split: str


def is_table(path: PurePosixPath) -> bool:
    """Whether this is the file that gives the labels."""
    return path.name.lower() == TABLE


@dataclass(frozen=True)
class Layout:
    """The places of all files."""

    places: Mapping[PurePosixPath, Place]
    unlisted: Sequence[PurePosixPath]
    """Files that have no place: beside the class folders, or not in labels.csv."""
    absent: Sequence[str]
    """Files of labels.csv that the archive lacks."""


def by_folders(paths: Sequence[PurePosixPath], images: Sequence[PurePosixPath]) -> Layout:
    """class/…/file, or split/class/…/file, below folders that all `images`, those of `paths` that are any, share."""
    top = _common_folder([path for path in images if len(path.parts) > 1])
    inside = {path: path.parts[len(top) :] for path in paths if path.parts[: len(top)] == top}
    split_given = _gives_splits([path.parts[len(top) :] for path in images])
    places = {path: place for path, parts in inside.items() if (place := _folder_place(parts, split_given))}
    return Layout(places, [path for path in paths if path not in places], [])


def _folder_place(parts: tuple[str, ...], split_given: bool) -> Place | None:
    if not split_given:
        return Place((parts[0],), "") if len(parts) > 1 else None
    is_in_split = len(parts) > 2 and parts[0].lower() in SPLITS
    return Place((parts[1],), SPLITS[parts[0].lower()]) if is_in_split else None


def by_table(paths: Sequence[PurePosixPath], table: PurePosixPath, content: bytes) -> Layout:
    """As labels.csv says: `file,label[,split]`, paths relative to it; several labels are parted by `|`."""
    present = set(paths)
    places: dict[PurePosixPath, Place] = {}
    absent: list[str] = []
    for number, row in _rows(content):
        path = table.parent / names.path_of(row["file"])
        if path not in present:
            absent.append(row["file"])
            continue
        if path in places:
            _bad_table(number, f"names {row['file']} a second time")
        places[path] = _place(number, row)
    return Layout(places, [path for path in paths if path not in places], absent)


def _rows(content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and columns of each row."""
    reader = _reader(content)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        if not {"file", "label"} <= set(columns):
            raise DatasetRejected(
                "labels_unreadable",
                f"{TABLE} must begin with the line file,label or file,label,split; it has {columns}.",
            )
        reader.fieldnames = columns
        for row in reader:
            values = {name: (row.get(name) or "").strip() for name in COLUMNS}
            if any(names.has_controls(value) for value in values.values()):
                _bad_table(reader.line_num, "has a control character, or a quote that is never closed")
            yield reader.line_num, values
    except csv.Error as error:
        _bad_table(reader.line_num + 1, f"cannot be read ({error})")


def _reader(content: bytes) -> csv.DictReader[str]:
    try:
        text = names.normalized(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DatasetRejected("labels_unreadable", f"{TABLE} is not UTF-8: {error}. Save it as UTF-8.") from error
    lines = io.StringIO(text, newline="")
    delimiter = max(DELIMITERS, key=lines.readline().count)
    lines.seek(0)
    return csv.DictReader(lines, delimiter=delimiter, strict=True)


def _place(number: int, row: dict[str, str]) -> Place:
    labels = tuple(sorted({label.strip() for label in row["label"].split("|")} - {""}))
    if not labels:
        _bad_table(number, f"gives {row['file']} no label")
    split = row["split"].lower()
    if split and split not in SPLITS:
        _bad_table(number, f"has the split {row['split']!r}; use train, validation or test")
    return Place(labels, SPLITS.get(split, ""))


def _bad_table(number: int, what: str) -> NoReturn:
    raise DatasetRejected("labels_unreadable", f"Line {number} of {TABLE} {what}. Correct it and send it again.")


def _gives_splits(images: Sequence[tuple[str, ...]]) -> bool:
    """Whether the first folders are splits; with no folder below, they are classes that are called so."""
    folders = {parts[0].lower() for parts in images if len(parts) > 1}
    named = folders <= SPLITS.keys() and TRAIN in {SPLITS[name] for name in folders}
    return named and any(len(parts) > 2 for parts in images)


def _common_folder(paths: Sequence[PurePosixPath]) -> tuple[str, ...]:
    """The folders that all files share, as long as classes remain below them."""
    top: tuple[str, ...] = ()
    while paths:
        names = {path.parts[len(top)] for path in paths if len(path.parts) > len(top) + 1}
        deeper = all(len(path.parts) > len(top) + 2 for path in paths)
        if len(names) != 1 or not deeper:
            break
        top = (*top, *names)
    return top
