"""Table of results: a line of JSON a row, written as it goes, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Key(NamedTuple):
    """Identity of a row: set, backbone, split, method, and the terms of the comparison."""

    set: str
    backbone: str
    split: int
    method: str
    image_size: int
    """Longer side of the network's input, in pixels."""
    budget: float | None
    """Seconds that the method may take; None: as many as it likes."""


@dataclass(frozen=True)
class Row:
    """A result on the test images of one split."""

    accuracy: float
    seconds: float
    cpu_seconds: float
    """Seconds of processors, which other work on the machine changes less."""
    confidences: tuple[float, ...]
    """Probability of the predicted class of each test image; none where the method does not tell."""
    right: str
    """Of each of these images 1 where the prediction is right, else 0."""
    note: str = ""
    """Choices that the method made by validation."""
    resumed: bool = False
    """True where an earlier run was interrupted in this row, which was then run again."""


class Table:
    """The rows of a file; a row that was begun and has no result is run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Key, Row] = {}
        self._begun: set[Key] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            self._read(line)

    def begin(self, key: Key) -> bool:
        """Note that a row is begun; tell whether an earlier run was interrupted in it."""
        was_begun = key in self._begun
        self._begun.add(key)
        self._write({"begun": key})
        return was_begun

    def add(self, key: Key, row: Row) -> None:
        """Add a result."""
        self.rows[key] = row
        self._write({"key": key, "row": asdict(row)})

    def _write(self, entry: dict[str, object]) -> None:
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_line(self.path):
                file.write(b"\n")  # a line that was interrupted stays alone, and is left out
            file.write(json.dumps(entry).encode() + b"\n")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if "begun" in entry:
            self._begun.add(Key(*entry["begun"]))
        else:
            values = entry["row"]
            row = Row(**{**values, "confidences": tuple(values["confidences"])})
            self.rows[Key(*entry["key"])] = row


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def make_row(
    confidences: Sequence[float], right: Sequence[bool], seconds: float, cpu_seconds: float, note: str = ""
) -> Row:
    """Make a row of a method's predictions for single images."""
    return Row(
        accuracy=sum(right) / len(right),
        seconds=round(seconds, 2),
        cpu_seconds=round(cpu_seconds, 2),
        confidences=tuple(round(float(confidence), 4) for confidence in confidences),
        right="".join("01"[bool(each)] for each in right),
        note=note,
    )
