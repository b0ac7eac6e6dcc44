"""Why a dataset is rejected as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NAMED = 10


class DatasetRejected(Exception):
    """Nothing can be trained on this archive; the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def some_of(names: Sequence[str]) -> str:
    """The names as a message says them, however many there are."""
    said = ", ".join(names[:MOST_NAMED])
    return said if len(names) <= MOST_NAMED else f"{said} and {len(names) - MOST_NAMED} more"
