"""Read labels and splits of an archive's files from their folders or from labels.csv."""

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
"""Common names of the splits."""
TABLE = "labels.csv"
COLUMNS = ("file", "label", "split")
DELIMITERS = ",;"
"""Excel separates by semicolons where the comma is the decimal sign."""


@dataclass(frozen=True)
class Annotation:
    """The labels and the split of an image. Several labels only in a multi-label dataset; split "" if none is given."""

    labels: tuple[str, ...]
    split: str


def is_table(path: PurePosixPath) -> bool:
    """Tell whether a file is the table of labels."""
    return path.name.lower() == TABLE


@dataclass(frozen=True)
class Layout:
    """The annotations of an archive's files."""

    annotations: Mapping[PurePosixPath, Annotation]
    unlabelled: Sequence[PurePosixPath]
    """Files outside the class folders, or not in labels.csv."""
    missing: Sequence[str]
    """Files of labels.csv that are not in the archive."""


def read_folders(paths: Sequence[PurePosixPath], images: Sequence[PurePosixPath]) -> Layout:
    """Read paths as class/…/file or split/class/…/file, below the folders that all `images` among them share."""
    top = _find_common_folder([path for path in images if len(path.parts) > 1])
    inside = {path: path.parts[len(top) :] for path in paths if path.parts[: len(top)] == top}
    has_splits = _has_split_folders([path.parts[len(top) :] for path in images])
    annotations = {
        path: annotation for path, parts in inside.items() if (annotation := _read_folder(parts, has_splits))
    }
    return Layout(annotations, [path for path in paths if path not in annotations], [])


def _read_folder(parts: tuple[str, ...], has_splits: bool) -> Annotation | None:
    if not has_splits:
        return Annotation((parts[0],), "") if len(parts) > 1 else None
    is_in_split = len(parts) > 2 and parts[0].lower() in SPLITS
    return Annotation((parts[1],), SPLITS[parts[0].lower()]) if is_in_split else None


def read_table(paths: Sequence[PurePosixPath], table: PurePosixPath, content: bytes) -> Layout:
    """Read labels.csv: `file,label[,split]` with paths relative to it; several labels are separated by `|`."""
    present = set(paths)
    annotations: dict[PurePosixPath, Annotation] = {}
    missing: list[str] = []
    for number, row in _read_rows(content):
        path = table.parent / names.parse_path(row["file"])
        if path not in present:
            missing.append(row["file"])
            continue
        if path in annotations:
            _reject_line(number, f"names {row['file']} a second time")
        annotations[path] = _read_row(number, row)
    return Layout(annotations, [path for path in paths if path not in annotations], missing)


def _read_rows(content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Iterate over the rows of a CSV table: line number and columns by name."""
    reader = _open_table(content)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        if not {"file", "label"} <= set(columns):
            raise DatasetRejected(
                "labels_unreadable",
                f"{TABLE} must begin with the line file,label or file,label,split; it has {','.join(columns)}.",
            )
        reader.fieldnames = columns
        for row in reader:
            values = {name: (row.get(name) or "").strip() for name in COLUMNS}
            if any(names.has_controls(value) for value in values.values()):
                _reject_line(reader.line_num, "has a control character, or a quote that is never closed")
            yield reader.line_num, values
    except csv.Error as error:
        _reject_line(reader.line_num + 1, f"cannot be read ({error})")


def _open_table(content: bytes) -> csv.DictReader[str]:
    try:
        text = names.normalize(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DatasetRejected("labels_unreadable", f"{TABLE} is not UTF-8: {error}. Save it as UTF-8.") from error
    lines = io.StringIO(text, newline="")
    delimiter = max(DELIMITERS, key=lines.readline().count)
    lines.seek(0)
    return csv.DictReader(lines, delimiter=delimiter, strict=True)


def _read_row(number: int, row: dict[str, str]) -> Annotation:
    labels = tuple(sorted({label.strip() for label in row["label"].split("|")} - {""}))
    if not labels:
        _reject_line(number, f"has no label for {row['file']}")
    split = row["split"].lower()
    if split and split not in SPLITS:
        _reject_line(number, f"has the split {row['split']!r}; use train, validation or test")
    return Annotation(labels, SPLITS.get(split, ""))


def _reject_line(number: int, problem: str) -> NoReturn:
    raise DatasetRejected("labels_unreadable", f"Line {number} of {TABLE} {problem}. Correct it and send it again.")


def _has_split_folders(images: Sequence[tuple[str, ...]]) -> bool:
    """Tell whether the first folders are splits; without folders in them, they are classes of these names."""
    folders = {parts[0].lower() for parts in images if len(parts) > 1}
    are_splits = folders <= SPLITS.keys() and TRAIN in {SPLITS[name] for name in folders}
    return are_splits and any(len(parts) > 2 for parts in images)


def _find_common_folder(paths: Sequence[PurePosixPath]) -> tuple[str, ...]:
    """Find the folders that all files share, as long as class folders remain below them."""
    top: tuple[str, ...] = ()
    while paths:
        names = {path.parts[len(top)] for path in paths if len(path.parts) > len(top) + 1}
        deeper = all(len(path.parts) > len(top) + 2 for path in paths)
        if len(names) != 1 or not deeper:
            break
        top = (*top, *names)
    return top
