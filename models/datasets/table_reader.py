"""Read the labels and splits of an archive's files from its tables of labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.datasets import names
from models.datasets.errors import DatasetRejected, join_names
from models.datasets.file_index import FileIndex, find_folder_split
from models.datasets.label_table import LabelTable, NoLabelTable
from models.datasets.report import SkippedFile
from models.datasets.split_names import TRAIN, parse_split
from models.datasets.table_text import reject_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import PurePosixPath

    from models.datasets.label_table import LabelRow

LABEL_TABLES = ("labels", "metadata", "_classes")
"""Names of tables whose labels come before those of folders."""
FREE_TABLE_BYTES = 1 << 20
TABLE_BYTES_PER_FILE = 8 << 10
"""A longer table cannot be one of the archive's files."""
MIN_MATCHED = 0.5
"""Share of the rows of a table of another name that must name files of the archive."""
MAX_MISSING_SHARE = 0.25
FREE_MISSING = 1000
"""Files that a table lists and the archive lacks: from this number and share on, the dataset is refused at once."""


@dataclass(frozen=True)
class Annotation:
    """The labels and the split of an image. Several labels, or none, only in a multi-label dataset.

    The split is "" if none is given.
    """

    labels: tuple[str, ...]
    split: str


@dataclass
class Layout:
    """The annotations of an archive's files, and how they were found."""

    annotations: dict[PurePosixPath, Annotation] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)
    """Rows without a file, a label or a file in the archive, and tables that are not used."""
    notes: list[str] = field(default_factory=list)
    """Decisions, for the report."""
    has_table: bool = False
    """True if the labels are those of tables, not of folders."""


class TableReader:
    """Reads the tables of one archive."""

    def __init__(self, index: FileIndex, num_files: int, heartbeat: Callable[[], None]) -> None:
        self.index, self.num_files, self.heartbeat = index, num_files, heartbeat
        self._reasons: dict[PurePosixPath, str] = {}
        """Reasons for which tables are not used."""
        self._used: set[PurePosixPath] = set()
        self._lines: dict[PurePosixPath, tuple[PurePosixPath, int]] = {}
        """Table and line that gave the labels of a file."""
        self._guessed: dict[str, PurePosixPath] = {}
        """Files that were not found by their exact path."""
        self._missing: dict[str, tuple[PurePosixPath, int]] = {}
        """Table and line of files that the archive does not have."""

    def open_matching(
        self, tables: Mapping[PurePosixPath, bytes], classes: AbstractSet[str] = frozenset()
    ) -> list[LabelTable]:
        """Open the tables whose rows name files of the archive; raises DatasetRejected."""
        return [table for path, content in tables.items() if (table := self._open(path, content, classes)) is not None]

    def _open(self, path: PurePosixPath, content: bytes, classes: AbstractSet[str]) -> LabelTable | None:
        if len(content) > FREE_TABLE_BYTES + TABLE_BYTES_PER_FILE * self.num_files:
            raise DatasetRejected(
                "labels_too_large",
                f"{names.show(str(path), 255)} has {len(content)} bytes, too many for a table of {self.num_files} "
                "files. Leave out rows of other files.",
            )
        try:
            split = _find_split(path)
            table = LabelTable(
                path, content, lambda name: self.index.find(path.parent, name, split) is not None, classes
            )
        except NoLabelTable as reason:
            self._reasons[path] = str(reason) + (self._describe_example(*reason.example) if reason.example else "")
            return None
        is_known = path.stem.lower() in LABEL_TABLES
        if table.matched < (MIN_MATCHED if not is_known else 1e-9):
            line, name = table.example
            self._reasons[path] = (
                f"of the first files that it lists ({table.description}), {table.matched:.0%} are in the archive"
                f"{self._describe_example(line, name)}"
            )
            return None
        return table

    def _describe_example(self, line: int, name: str) -> str:
        start = f". Line {line} lists {names.show(name, 255)!r}; "
        if several := self.index.find_several(name):
            shown = join_names([names.show(path, 255) for path in several])
            return f"{start}several files are called so: {shown}. Write each with its folder and suffix"
        return f"{start}the nearest file is {self._find_nearest(name)}"

    def _find_nearest(self, name: str) -> str:
        return names.show(str(self.index.find_nearest(name)), 255)

    def reject_unmatched(self, tables: Mapping[PurePosixPath, bytes]) -> None:
        """Raise DatasetRejected if there are tables, none of which can be used, and say why."""
        if self._reasons:
            # The table that is most likely meant.
            path = min(
                self._reasons, key=lambda path: (path.stem.lower() not in LABEL_TABLES, list(tables).index(path))
            )
            raise DatasetRejected(
                "labels_unreadable",
                f"{names.show(str(path), 255)} gives no labels: {self._reasons[path]}. Correct the table, or put the "
                "images of each class into a folder of its own.",
            )

    def explain_unused(self, tables: Mapping[PurePosixPath, bytes]) -> dict[PurePosixPath, str]:
        """List the tables that are not used, with the reasons."""
        default = "the labels are those of the folders" if not self._used else "the labels are those of another table"
        return {path: self._reasons.get(path, default) for path in tables if path not in self._used}

    def read(self, tables: Sequence[LabelTable]) -> Layout:
        """Read the labels of all these tables; raises DatasetRejected."""
        found = Layout(has_table=True)
        for table in tables:
            self._add_rows(found, table, table.read())
        if not found.annotations:
            self.reject_missing(tables[0])
        several = next((a.labels for a in found.annotations.values() if len(a.labels) > 1), ())
        if several and not any(table.is_one_hot for table in tables):
            shown = names.show("|".join(several), 255)
            found.notes.append(f"images may have several labels, such as {shown}")
        _check_classes(found, tables)
        self._settle_labels(found)
        _infer_splits(found)
        self._describe_matches(found)
        found.skipped += self._list_missing()
        return found

    def _list_missing(self) -> list[SkippedFile]:
        message = "Line {} of {} lists this file, but the archive does not have it."
        return [
            SkippedFile(name, "missing_file", message.format(line, table))
            for name, (table, line) in self._missing.items()
        ]

    def _add_rows(self, found: Layout, table: LabelTable, rows: Iterable[LabelRow]) -> None:
        self._used.add(table.path)
        found.notes.append(f"labels are those of {names.show(str(table.path), 255)} ({table.description})")
        table_split = _find_split(table.path)
        for row in rows:
            self.heartbeat()
            if not row.file:
                where = f"{table.path}, line {row.line}"
                message = "The row names no file."
                found.skipped.append(SkippedFile(where, "no_file", message, is_damage=False))
                continue
            match = self.index.find(table.path.parent, row.file, table_split)
            if match is None:
                self._add_missing(table, row)
                continue
            path, is_exact = match
            if not is_exact:
                self._guessed.setdefault(row.file, path)
            self._add(found, table, row, path, table_split)

    def _add(self, found: Layout, table: LabelTable, row: LabelRow, path: PurePosixPath, table_split: str) -> None:
        annotation = Annotation(row.labels, row.split or table_split)
        earlier = found.annotations.setdefault(path, annotation)
        if earlier != annotation:
            other, line = self._lines[path]
            before = f"line {line}" if other == table.path else f"line {line} of {names.show(str(other), 255)}"
            both = "|".join(sorted({*earlier.labels, *annotation.labels}))
            reject_line(
                table.path,
                row.line,
                f"gives {names.show(str(path), 255)} {_describe(annotation)}, but {before} gives {_describe(earlier)}. "
                f"Keep one row for each file; one with several labels is written as {names.show(both, 255)}",
            )
        self._lines.setdefault(path, (table.path, row.line))

    def _add_missing(self, table: LabelTable, row: LabelRow) -> None:
        self._missing.setdefault(row.file, (table.path, row.line))
        if len(self._missing) > max(FREE_MISSING, MAX_MISSING_SHARE * self.num_files):
            self.reject_missing(table)

    def reject_missing(self, table: LabelTable) -> None:
        """Raise DatasetRejected: most or all files that a table lists are not in the archive."""
        where = names.show(str(table.path), 255)
        if not self._missing:
            raise DatasetRejected("labels_unreadable", f"{where} has no rows with a file ({table.description}).")
        name, (_, line) = next(iter(self._missing.items()))
        raise DatasetRejected(
            "labels_without_files",
            f"{where} lists {len(self._missing)} files or more that the archive does not have. Line {line} lists "
            f"{names.show(name, 255)}; the nearest file is {self._find_nearest(name)}. Write paths relative to the "
            "table.",
        )

    def _settle_labels(self, found: Layout) -> None:
        """Leave out files without a label, unless others have several: then they have none of the classes."""
        empty = [path for path, annotation in found.annotations.items() if not annotation.labels]
        if not empty:
            return
        if any(len(annotation.labels) > 1 for annotation in found.annotations.values()):
            found.notes.append(f"{len(empty)} images have no label, that is none of the classes")
            return
        for path in empty:
            del found.annotations[path]
            table, line = self._lines[path]
            message = f"Line {line} of {table} gives it no label."
            found.skipped.append(SkippedFile(str(path), "no_label", message, is_damage=False))

    def _describe_matches(self, found: Layout) -> None:
        if self._guessed:
            name, path = next(iter(self._guessed.items()))
            found.notes.append(
                f"{len(self._guessed)} names in tables are no exact paths, and were matched by their ends: "
                f"{names.show(name, 255)} is {names.show(str(path), 255)}"
            )

    def add_split_tables(self, found: Layout, tables: Mapping[PurePosixPath, bytes], classes: AbstractSet[str]) -> None:
        """Add the labels of flat splits from tables in them: `val/` of Tiny ImageNet has `val_annotations.txt`."""
        for path, content in tables.items():
            below = self._find_flat_split(found, path)
            table = self._open(path, content, classes) if below else None
            rows = list(table.read()) if table is not None else []
            if table is None or not {label for row in rows for label in row.labels} <= classes:
                continue
            extra = Layout()
            self._add_rows(extra, table, rows)
            found.annotations |= {file: annotation for file, annotation in extra.annotations.items() if file in below}
            found.skipped += [*extra.skipped, *self._list_missing()]
            found.notes += extra.notes

    def _find_flat_split(self, found: Layout, table: PurePosixPath) -> set[PurePosixPath]:
        """Find the files of the split in which a table stands, if none of them has a label yet."""
        if len(table.parts) < 2 or not _find_split(table):
            return set()
        below = {file for file in self.index.paths if file.is_relative_to(table.parent)}
        return below if found.annotations.keys().isdisjoint(below) else set()


def _check_classes(found: Layout, tables: Sequence[LabelTable]) -> None:
    """Refuse cells that seem to have several labels, separated otherwise than by |, and note doubtful classes."""
    classes = sorted({label for annotation in found.annotations.values() for label in annotation.labels})
    if alike := names.find_alike(classes):
        found.notes.append(f"the classes {join_names(alike)} differ in case, spaces or decimals alone")
    if any(table.is_one_hot for table in tables):
        return
    for separator in (";", ",", *((" ",) if any(table.has_tags for table in tables) else ())):
        joined = [label for label in classes if separator in label]
        if not joined:
            continue
        shown = names.show(joined[0], 255)
        parts = {label: {part.strip() for part in label.split(separator)} for label in classes}
        uses = Counter(part for of_one in parts.values() for part in of_one)
        if 2 * sum(min(uses[part] for part in parts[label]) > 1 for label in joined) > len(joined):
            raise DatasetRejected(
                "labels_unreadable",
                f"It is unclear whether {shown!r} in {names.show(str(tables[0].path), 255)} is one label or several: "
                f"its parts stand in other labels too. Separate several labels by |, as in "
                f"{'|'.join(sorted(parts[joined[0]]))}; if it is one, write it without {separator!r}.",
            )
        if separator != " ":
            found.notes.append(f"{shown!r} counts as one label, as several are separated by |")


def _find_split(table: PurePosixPath) -> str:
    """Find the split whose labels a table gives, from its name and its folders."""
    for name in (table.stem, *reversed(table.parent.parts)):
        if split := parse_split(name):
            return split
    return ""


def _infer_splits(found: Layout) -> None:
    """Read splits from the folders of the files where tables give none."""
    if any(annotation.split for annotation in found.annotations.values()):
        return
    splits = {path: find_folder_split(path) for path in found.annotations}
    counts = Counter(splits.values())
    if not counts[TRAIN] or len(counts.keys() - {""}) < 2:
        return
    found.notes.append(f"splits are those of the folders: {join_names(sorted(counts.keys() - {''}))}")
    for path, annotation in found.annotations.items():
        found.annotations[path] = Annotation(annotation.labels, splits[path])


def _describe(annotation: Annotation) -> str:
    labels = names.show("|".join(annotation.labels) or "no label", 255)
    return f"{labels} in the split {annotation.split}" if annotation.split else labels
