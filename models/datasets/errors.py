"""Errors that reject a whole dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_NAMES = 10


class DatasetRejected(Exception):
    """No network can be trained on this archive; the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def join_names(names: Sequence[str]) -> str:
    """Join names for a message; of many, the first and how many more there are."""
    first = ", ".join(names[:MAX_NAMES])
    return first if len(names) <= MAX_NAMES else f"{first} and {len(names) - MAX_NAMES} more"
