"""Read the labels of files from a table, whose columns are recognized by their names and by what stands in them.

One column names files, one their labels (several separated by `|`), or one column for each class has 0 and 1; one
column may give the split. Graft's labels.csv, Hugging Face's metadata.csv and metadata.jsonl, Roboflow's _classes.csv,
one-hot tables and most tables of competitions are read so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING

from models.datasets import names
from models.datasets.errors import join_names
from models.datasets.split_names import TEST, TRAIN, VALIDATION, parse_split
from models.datasets.table_text import parse_list, read_rows, reject_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import PurePosixPath

    from models.datasets.table_text import Row

FILE_COLUMNS = (
    "file", "filename", "filepath", "fname", "files", "filenames", "image", "imagename", "imagefile", "imagefilename",
    "imagepath", "imageid", "img", "imgname", "imgpath", "imgid", "images", "path", "paths", "relpath", "relativepath",
    "photo", "photoid", "pic", "uri", "url", "name", "id",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "class", "classes", "classname", "labelname", "category", "categories", "categoryname", "target",
    "targets", "tag", "tags", "species", "breed", "classlabel", "imagelabel", "groundtruth", "gt", "y", "annotation",
    "choice", "choices", "dx", "diagnosis", "disease", "finding", "findings", "findinglabels", "variety",
    "classid", "labelid", "categoryid",
)  # fmt: skip
SPLIT_COLUMN = "split"
SPLIT_COLUMNS = ("set", "subset", "partition", "usage", "phase", "dataset", "fold", "datasplit", "imageset")
"""Columns that give splits if all their values are names of splits."""
SPLIT_FLAGS = {"isvalid": VALIDATION, "isval": VALIDATION, "isvalidation": VALIDATION, "istest": TEST}
"""Columns of 0 and 1 for one split; the rows of 0 are for training."""
INDEX_COLUMNS = ("", "unnamed0", "index", "idx")
"""Columns that pandas writes, or that number the rows."""
FLAGS = {"0": False, "0.0": False, "false": False, "no": False, "": False, "1": True, "1.0": True, "true": True,
         "yes": True}  # fmt: skip
SIGNS = {"-1": False, "-1.0": False, "1": True, "1.0": True}
"""Flags of tables in which -1 stands for no; beside 0, it may stand for unknown."""
NO_LABELS = ("", "nan", "<na>", "null", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#null!", "#num!")
"""What programs write for a label that is not there, and Excel for an error."""
ONE_HOT = "_classes.csv"
"""Name of Roboflow's tables: a column for each class."""
SAMPLE = 200
"""Rows by which columns are recognized."""
MIN_FOUND = 0.5
"""Share of a column's cells that name files of the archive, from which it is the column of files whatever its name."""
NAMED = 0.4
MAX_LABELS = 1000
"""Most labels of an image."""

IsFile = Callable[[str], bool]


class NoLabelTable(Exception):
    """A table that does not give the labels of files; the message says what it has and what is needed."""

    def __init__(self, message: str, example: tuple[int, str] | None = None) -> None:
        super().__init__(message)
        self.example = example
        """Line and cell of a file that it lists and that is not in the archive."""


@dataclass(frozen=True)
class LabelRow:
    """A row of a table: a file, its labels, and its split, "" if none is given."""

    line: int
    file: str
    labels: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class _Columns:
    files: int
    labels: tuple[int, ...]
    """One column of labels, or one for each class."""
    classes: tuple[str, ...]
    """Names of the classes of one-hot columns."""
    split: int | None
    width: int
    description: str
    is_certain: bool = True
    has_tags: bool = False
    """True if the column of labels is called tags, which may be separated by spaces."""
    flags: Mapping[str, bool] = field(default_factory=lambda: FLAGS)
    """What the cells of one-hot columns mean."""
    split_flag: str = ""
    """The split for which `split` has a 1; "": it names splits."""


class LabelTable:
    """A table that gives labels of files. Its rows are read once, one by one."""

    def __init__(
        self, path: PurePosixPath, content: bytes, is_file: IsFile, classes: AbstractSet[str] = frozenset()
    ) -> None:
        """Recognize the columns; `classes`, where they are known, tell the column of labels.

        Raises NoLabelTable, DatasetRejected.
        """
        self.path = path
        is_file = cache(is_file)  # flags and classes stand in many cells
        rows = read_rows(path, content)
        sample = list(islice(rows, SAMPLE + 1))
        if not sample:
            raise NoLabelTable("it is empty")
        if _has_header(sample[0][1], is_file):
            header, *sample = sample
            if not sample:
                raise NoLabelTable("it has no row below the names of its columns")
            self._columns = _find_columns(path, header[1], sample, is_file)
        else:
            self._columns = _find_columns_without_header(sample, is_file, classes)
        self._rows = chain(sample, rows)
        files = self._columns.files
        listed = [(line, cells[files]) for line, cells in sample if files < len(cells) and cells[files]]
        missing = [(line, name) for line, name in listed if not is_file(name)]
        self.matched = 1 - len(missing) / len(listed) if listed else 0.0
        """Share of the first files that it lists which are in the archive."""
        self.example = missing[0] if missing else (0, "")
        """Line and name of a file that it lists and that is not in the archive."""
        self.description = self._columns.description
        """The columns that are used, for a report."""
        self.is_one_hot = bool(self._columns.classes)
        self.has_tags = self._columns.has_tags
        self.is_certain = self._columns.is_certain
        """True if the columns of labels are called so, or are flags; False: there is just one beside that of files."""

    def read(self) -> Iterator[LabelRow]:
        """Iterate over the rows; raises DatasetRejected for one that does not fit the header."""
        columns = self._columns
        for line, cells in self._rows:
            if len(cells) > columns.width and any(cells[columns.width :]):
                reject_line(
                    self.path,
                    line,
                    f"has {len(cells)} cells, but the header has {columns.width}. Put a name with a comma in quotes",
                )
            cells = cells + [""] * (columns.width - len(cells))
            self._check_cells(line, cells)
            yield LabelRow(line, cells[columns.files], self._read_labels(line, cells), self._read_split(line, cells))

    def _check_cells(self, line: int, cells: Sequence[str]) -> None:
        columns = self._columns
        read = (columns.files,) if columns.classes else (columns.files, *columns.labels)
        if any(names.has_controls(cells[index]) for index in read):
            reject_line(self.path, line, "has a control character, or a quote that is never closed")

    def _read_labels(self, line: int, cells: Sequence[str]) -> tuple[str, ...]:
        columns = self._columns
        if columns.classes:
            flags = [columns.flags.get(cells[index].lower()) for index in columns.labels]
            if None in flags:
                cell = cells[columns.labels[flags.index(None)]]
                reject_line(self.path, line, f"has {names.show(cell, 100)!r} in the column of a class; use 0 or 1")
            labels = {name for name, flag in zip(columns.classes, flags, strict=True) if flag}
        else:
            cell = cells[columns.labels[0]]
            several = parse_list(cell)
            found = (names.trim(label) for label in (cell.split("|") if several is None else several))
            labels = {label for label in found if label.lower() not in NO_LABELS}
        if len(labels) > MAX_LABELS:
            reject_line(self.path, line, f"has {len(labels)} labels; an image may have {MAX_LABELS}")
        for label in labels:
            if len(label.encode()) > names.MAX_BYTES:
                reject_line(
                    self.path, line, f"has a label of {len(label.encode())} bytes; {names.MAX_BYTES} are allowed"
                )
        return tuple(sorted(labels))

    def _read_split(self, line: int, cells: Sequence[str]) -> str:
        columns = self._columns
        if columns.split is None:
            return ""
        name = cells[columns.split]
        if columns.split_flag:
            flag = FLAGS.get(name.lower())
            if flag is None:
                reject_line(self.path, line, f"has {names.show(name, 100)!r} in a column of flags; use 0 or 1")
            return columns.split_flag if flag else TRAIN
        split = parse_split(name)
        if name and split is None:
            reject_line(self.path, line, f"has the split {names.show(name, 100)!r}; use train, validation or test")
        return split or ""


def _has_header(cells: Sequence[str], is_file: IsFile) -> bool:
    if any(re.search(r"\.\w{2,5}$", cell) and is_file(cell) for cell in cells):
        return False
    known = {*FILE_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS, SPLIT_COLUMN}
    # Names of files without suffix, as in a row, or the name of a column that is by chance that of a file too?
    return any(names.simplify(cell) in known for cell in cells) or not any(is_file(cell) for cell in cells)


def _find_columns(path: PurePosixPath, header: Sequence[str], sample: Sequence[Row], is_file: IsFile) -> _Columns:
    simple = [names.simplify(name) for name in header]
    files = _find_file_column(simple, sample, is_file)
    if files is None:
        raise NoLabelTable(_explain(header, "no column names files of the archive"), _find_example(simple, sample))
    split, split_flag = _find_split_column(simple, sample)
    others = [
        index for index in range(len(header)) if index not in (files, split) and simple[index] not in INDEX_COLUMNS
    ]
    named = [simple.index(name) for name in LABEL_COLUMNS if name in simple and simple.index(name) in others]
    given = f"files are the column {header[files]}"
    split_given = "" if split is None else f", splits {header[split]}"
    flags = None if named and path.name.lower() != ONE_HOT else _find_flags(others, sample)
    if path.name.lower() == ONE_HOT or (len(others) > 1 and flags is not None):
        classes = tuple(header[index] for index in others)
        if any(len(name.encode()) > names.MAX_BYTES or names.has_controls(name) for name in classes):
            reject_line(path, 1, f"has a name of a class of more than {names.MAX_BYTES} bytes, or of several lines")
        description = f"{given}, classes the columns {join_names(classes)}{split_given}"
        return _Columns(
            files, tuple(others), classes, split, len(header), description, flags=flags or FLAGS, split_flag=split_flag
        )
    labels = named[:1] or others
    if len(labels) != 1:
        raise NoLabelTable(_explain(header, "no column has labels" if not labels else "it is unclear which has labels"))
    unused = join_names([header[index] for index in others if index not in labels])
    description = f"{given}, labels {header[labels[0]]}{split_given}{unused and f'; not used: {unused}'}"
    return _Columns(
        files,
        (labels[0],),
        (),
        split,
        len(header),
        description,
        is_certain=bool(named),
        has_tags=simple[labels[0]] == "tags",
        split_flag=split_flag,
    )


def _find_example(simple: Sequence[str], sample: Sequence[Row]) -> tuple[int, str] | None:
    """Find a cell of a column that is called as one of files, and its line."""
    index = next((simple.index(name) for name in FILE_COLUMNS if name in simple), None)
    return next(((line, cells[index]) for line, cells in sample if index is not None and index < len(cells)), None)


def _explain(header: Sequence[str], problem: str) -> str:
    columns = join_names([names.show(name, 100) or "(without a name)" for name in header])
    return (
        f"{problem}; its columns are {columns}. Needed are a column of files, such as file or file_name, and one of "
        "labels, such as label, or one of 0 and 1 for each class"
    )


def _find_file_column(simple: Sequence[str], sample: Sequence[Row], is_file: IsFile) -> int | None:
    """Find the column of files: the one that names most files of the archive, or else one that is called so."""
    scores = {}
    for index, name in enumerate(simple):
        if name in LABEL_COLUMNS:  # labels may be called as files are, but for the suffix
            continue
        cells = [cells[index] for _, cells in sample if index < len(cells) and cells[index]]
        found = sum(map(is_file, cells)) / max(1, len(cells))
        is_named = name in FILE_COLUMNS[: FILE_COLUMNS.index("name")]
        scores[index] = found + NAMED * is_named if found >= MIN_FOUND or is_named else 0.0
        # Of several that are called so, the first of the list.
        scores[index] -= 1e-3 * FILE_COLUMNS.index(name) if is_named else 0.0
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] > 0 else None


def _find_split_column(simple: Sequence[str], sample: Sequence[Row]) -> tuple[int | None, str]:
    """Find the column of splits, and which split it flags, "" if it names them."""
    if SPLIT_COLUMN in simple:
        return simple.index(SPLIT_COLUMN), ""
    for index, name in enumerate(simple):
        if name in SPLIT_COLUMNS and _are_splits(index, sample):
            return index, ""
        if name in SPLIT_FLAGS and _find_flags([index], sample) is FLAGS:
            return index, SPLIT_FLAGS[name]
    return None, ""


def _are_splits(index: int, sample: Sequence[Row]) -> bool:
    return bool(sample) and all(index < len(cells) and parse_split(cells[index]) is not None for _, cells in sample)


def _find_flags(columns: Sequence[int], sample: Sequence[Row]) -> Mapping[str, bool] | None:
    """Find what cells of 0 and 1, or of -1 and 1, mean; None if there are others."""
    found = {cells[index].lower() if index < len(cells) else None for _, cells in sample for index in columns}
    return next((flags for flags in (FLAGS, SIGNS) if found and found <= flags.keys()), None)


def _find_columns_without_header(sample: Sequence[Row], is_file: IsFile, classes: AbstractSet[str]) -> _Columns:
    """Recognize the columns of a table whose first line is a row: files and labels, or files and known classes."""
    first = sample[0][1]
    # The names of files may be numbers, and so may labels: the column with most of them, and the first of those.
    files = max(range(len(first)), key=lambda index: sum(is_file(cells[index]) for _, cells in sample if cells[index:]))
    with_splits = [index for index in range(len(first)) if index != files and _are_splits(index, sample)]
    split = with_splits[0] if len(first) > 2 and with_splits else None
    others = [index for index in range(len(first)) if index not in (files, split)]
    if classes:
        others = [
            index for index in others if all(index < len(cells) and cells[index] in classes for _, cells in sample)
        ]
    if len(others) != 1:
        raise NoLabelTable(
            f"it has no line of names of columns, and {len(first)} columns. Begin it with the line file,label, or "
            "file,label,split"
        )
    description = f"it has no header: files are column {files + 1}, labels column {others[0] + 1}"
    description += "" if split is None else f", splits column {split + 1}"
    return _Columns(files, (others[0],), (), split, len(first), description)
