"""Read the rows of a table (CSV of any separator, JSON lines) from bytes, as spreadsheets and scripts write them."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from models.datasets import names
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePosixPath

DELIMITERS = ",;\t"
"""Excel separates by semicolons where the comma is the decimal sign."""
RARE_DELIMITERS = "| "
"""Delimiters of lines that have none of the others, in this order."""
MAX_COLUMNS = 20_000
EXCEL = (b"PK\3\4", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .xls."""
JSON_LINES = (".jsonl", ".ndjson")
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*$", re.IGNORECASE)

Row = tuple[int, list[str]]
"""Line number and cells."""


def reject_line(table: PurePosixPath, number: int, problem: str) -> NoReturn:
    """Raise DatasetRejected for a line of a table."""
    where = names.show(str(table), 255)
    raise DatasetRejected("labels_unreadable", f"Line {number} of {where} {problem}. Correct it and send it again.")


def read_rows(table: PurePosixPath, content: bytes) -> Iterator[Row]:
    """Iterate over the rows with any content, the header first, with stripped cells; raises DatasetRejected."""
    if content.startswith(EXCEL):
        raise DatasetRejected(
            "labels_unreadable",
            f"{names.show(str(table), 255)} is an Excel file with the name of a text. Save it in Excel as CSV UTF-8.",
        )
    encoding = _find_encoding(content)
    text = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    rows = _read_json_lines(table, text) if table.suffix.lower() in JSON_LINES else _read_csv(table, text)
    try:
        for number, cells in rows:
            if any(cells):
                yield number, cells
    except UnicodeDecodeError as error:
        where = f"line {_find_bad_line(content)}" if encoding == "utf-8-sig" else str(error)
        raise DatasetRejected(
            "labels_unreadable",
            f"{names.show(str(table), 255)} is not UTF-8: {where}. Save it as UTF-8 (in Excel: CSV UTF-8).",
        ) from error


def _find_encoding(content: bytes) -> str:
    """Find the encoding: UTF-32 and UTF-16 by their marks, or by the zeros in ASCII characters; else UTF-8."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:1000]
    if start[1::2].count(0) > len(start) / 4:
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) > len(start) / 4 else "utf-8-sig"


def _find_bad_line(content: bytes) -> int:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 1


def _read_csv(table: PurePosixPath, text: io.TextIOWrapper) -> Iterator[Row]:
    first = text.readline()
    given = _SEPARATOR_LINE.match(first)
    lines_before = 1 if given else 0
    if not given:
        text.seek(0)
    delimiter = given[1] if given else _find_delimiter(first)
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
    number = lines_before + 1
    try:
        for row in reader:
            yield number, [names.trim(cell) for cell in row]
            number = lines_before + reader.line_num + 1
    except csv.Error as error:
        reject_line(table, number, f"cannot be read ({error}); a quote in a quoted cell is written twice")


def _find_delimiter(line: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", line)
    if any(delimiter in unquoted for delimiter in DELIMITERS):
        return max(DELIMITERS, key=unquoted.count)
    return next((delimiter for delimiter in RARE_DELIMITERS if delimiter in unquoted.strip()), DELIMITERS[0])


def _read_json_lines(table: PurePosixPath, text: io.TextIOWrapper) -> Iterator[Row]:
    """Read the values that are no objects of each line's object; lines may lack some."""
    columns: dict[str, None] = {}  # in the order in which they come
    for _, row in _parse_json_lines(table, text):
        columns |= dict.fromkeys(name for name, value in row.items() if not isinstance(value, dict))
    if len(columns) > MAX_COLUMNS:
        reject_line(table, 1, f"and others have more than {MAX_COLUMNS} different names of values")
    text.seek(0)
    for index, (number, row) in enumerate(_parse_json_lines(table, text)):
        if not index:
            yield number, [names.normalize(name) for name in columns]
        yield number, [_format_value(row.get(name)) for name in columns]


def _parse_json_lines(table: PurePosixPath, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reject_line(table, number, f"is no JSON ({error})")
        if not isinstance(row, dict):
            reject_line(table, number, 'is no JSON object, such as {"file_name": "1.jpg", "label": "cat"}')
        yield number, row


def parse_list(cell: str) -> list[str] | None:
    """Parse a cell that is a list, as Python and JSON write it: ['cat', 'dog']; None if it is none."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_flat = isinstance(found, list) and all(isinstance(item, str | int | float) for item in found)
    return [names.normalize(str(item)) for item in found] if is_flat else None


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_format_value, value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return names.trim(str(value))
