"""Errors of imports. Each message says what is wrong with the file, and what to send instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.importers.report import NumericCheck


class ImportRejected(Exception):
    """The file gives no backbone."""

    def __init__(self, code: str, message: str, numeric: NumericCheck | None = None) -> None:
        super().__init__(message)
        self.code = code
        """The error's name in the API."""
        self.numeric = numeric
        """Figures of the comparison that failed."""
