"""CSV (RFC 4180) whose texts no spreadsheet computes as formulas."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEPARATOR = "|"
"""Between the names of a list, as between the labels of a dataset's table."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that spreadsheets would compute."""


def format_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Format rows as CSV; a text that a spreadsheet would compute gets an apostrophe before it."""
    text = io.StringIO()
    csv.writer(text).writerows([_format_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _format_cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    string = SEPARATOR.join(cell) if isinstance(cell, list) else str(cell)
    return f"'{string}" if string.startswith(FORMULA) else string
