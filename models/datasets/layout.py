"""Read labels and splits of an archive's files from its tables of labels, or else from its folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.datasets import names
from models.datasets.errors import DatasetRejected
from models.datasets.file_index import FileIndex
from models.datasets.folders import read_folders
from models.datasets.report import SkippedFile
from models.datasets.table_reader import LABEL_TABLES, Annotation, Layout, TableReader
from models.datasets.table_text import JSON_LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import PurePosixPath

TABLES = (".csv", ".tsv", *JSON_LINES)
TEXT_TABLES = ("annotations", "labels")
"""Ends of the names of .txt files that may be tables."""
OTHER_LABELS = (".xlsx", ".xls", ".ods", ".json", ".xml", ".parquet", ".arrow", ".mat", ".txt")
"""Suffixes of files with labels in other formats."""
SUBMISSION = "submission"
"""In the names of tables of competitions with made-up labels, as an example of what to send in."""


def is_table(path: PurePosixPath) -> bool:
    """Tell whether a file may be a table of labels, by its name."""
    stem, suffix = path.stem.lower(), path.suffix.lower()
    if SUBMISSION in stem:
        return False
    return suffix in TABLES or (suffix == ".txt" and stem.endswith(TEXT_TABLES))


def read_layout(
    paths: Sequence[PurePosixPath],
    images: Sequence[PurePosixPath],
    tables: Mapping[PurePosixPath, bytes],
    heartbeat: Callable[[], None],
) -> Layout:
    """Read the labels of these files, of which `images` are images, good or damaged; raises DatasetRejected.

    In this order: tables whose names are those of label tables and whose rows name files of the archive; class folders;
    other tables whose rows do.
    """
    reader = TableReader(FileIndex(paths), len(paths), heartbeat)
    known = {path: data for path, data in tables.items() if path.stem.lower() in LABEL_TABLES and path.suffix != ".txt"}
    opened = reader.open_matching(known)
    if any(table.is_certain for table in opened):
        found = reader.read(opened)
    else:
        found = _read_folders_or_tables(reader, images, tables)
    found.skipped += [
        SkippedFile(str(path), "table_not_used", f"Not used as a table of labels: {reason}.", is_damage=False)
        for path, reason in reader.explain_unused(tables).items()
    ]
    return found


def _read_folders_or_tables(
    reader: TableReader, images: Sequence[PurePosixPath], tables: Mapping[PurePosixPath, bytes]
) -> Layout:
    try:
        folders = read_folders(images)
    except DatasetRejected as error:
        if opened := reader.open_matching(tables):
            return reader.read(opened)
        reader.reject_unmatched(tables)
        if other := next((path for path in reader.index.paths if path.suffix.lower() in OTHER_LABELS), None):
            message = f"{error} Labels in other files, such as {names.show(str(other), 255)}, are not read."
            raise DatasetRejected(error.code, message) from error
        raise
    found = Layout(notes=folders.notes)
    for path in reader.index.paths:
        if label := folders.find(path):
            found.annotations[path] = Annotation((label[0],), label[1])
    reader.add_split_tables(found, tables, folders.classes)
    return found
