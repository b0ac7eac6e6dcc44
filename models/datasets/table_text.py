"""Read the rows of a table (CSV of any separator, JSON lines) from bytes, as spreadsheets and scripts write them."""

from __future__ import annotations

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
    """Find the encoding: UTF-16 by its mark, or by the zeros in its ASCII characters; else UTF-8."""
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
            yield number, [names.normalize(cell).strip() for cell in row]
            number = lines_before + reader.line_num + 1
    except csv.Error as error:
        reject_line(table, number, f"cannot be read ({error}); a quote in a quoted cell is written twice")


def _find_delimiter(line: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=unquoted.count)


def _read_json_lines(table: PurePosixPath, text: io.TextIOWrapper) -> Iterator[Row]:
    columns: list[str] = []
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reject_line(table, number, f"is no JSON ({error})")
        if not isinstance(row, dict):
            reject_line(table, number, 'is no JSON object, such as {"file_name": "1.jpg", "label": "cat"}')
        if not columns:
            columns = [name for name in row if not isinstance(row[name], dict)]
            yield number, [names.normalize(name) for name in columns]
        yield number, [_format_value(row.get(name)) for name in columns]


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_format_value, value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return names.normalize(str(value)).strip()
