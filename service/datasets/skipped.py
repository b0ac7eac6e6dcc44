"""Read the list of a dataset's skipped files, lines of JSON in the storage, in constant memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from service.csv_text import format_csv
from service.datasets.errors import DatasetNotValidated
from service.datasets.schemas import SkippedFileItem
from service.pagination import PositionUnknown, parse_position
from service.statuses import DatasetStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.storage import Storage
    from service.tables import Dataset

COLUMNS = ("file", "code", "message")
BATCH = 1000
"""Lines that are sent at once."""


@dataclass(frozen=True)
class SkippedList:
    """The skipped files of a dataset."""

    dataset_id: str
    key: str | None
    """Storage key of the file; None for a dataset of an earlier release."""
    reported: list[dict[str, Any]]
    """The first of them, from the report: of a dataset of an earlier release, there is no other list."""

    def read_page(self, storage: Storage, limit: int, after: str | None) -> list[SkippedFileItem]:
        """Read the first `limit` + 1 skipped files after the id `after`, which has the place of its line in the file.

        Raises PositionUnknown.
        """
        position = parse_position(self.dataset_id, after)
        if self.key is None:
            rows = list(enumerate(self.reported))[position + 1 :]
            return [self._build_item(number, row) for number, row in rows[: limit + 1]]
        with storage.reading(self.key) as file:
            if position >= 0:
                _skip_line(file, position)
            return [self._build_item(start, json.loads(line)) for start, line in islice(_read_lines(file), limit + 1)]

    def stream_csv(self, storage: Storage) -> Iterator[str]:
        """Stream all skipped files as a table, with a header."""
        yield format_csv([COLUMNS])
        if self.key is None:
            yield format_csv([[row[column] for column in COLUMNS] for row in self.reported])
            return
        with storage.reading(self.key) as file:
            rows = (json.loads(line) for _, line in _read_lines(file))
            while batch := list(islice(rows, BATCH)):
                yield format_csv([[row[column] for column in COLUMNS] for row in batch])

    def _build_item(self, position: int, row: dict[str, Any]) -> SkippedFileItem:
        return SkippedFileItem(id=f"{self.dataset_id}.{position}", **row)


def find_list(dataset: Dataset) -> SkippedList:
    """Find the list of a dataset; raises DatasetNotValidated."""
    if dataset.status == DatasetStatus.VALIDATING:
        raise DatasetNotValidated(f"Dataset {dataset.id} is still being validated; try again when it is ready.")
    if dataset.status != DatasetStatus.READY:
        raise DatasetNotValidated(f"Dataset {dataset.id} failed validation as a whole; its error has the reason.")
    return SkippedList(dataset.id, dataset.skipped, (dataset.report or {}).get("skipped", []))


def _skip_line(file: IO[bytes], position: int) -> None:
    """Move behind the line that begins at a position."""
    file.seek(max(0, position - 1))
    begins_line = position == 0 or file.read(1) == b"\n"
    if not begins_line or not file.readline():
        raise PositionUnknown("`after` names no item of this list; send an id that this list gave.")


def _read_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    position = file.tell()
    for line in iter(file.readline, b""):
        yield position, line
        position += len(line)
