"""Report which files of a dataset are not used, and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from models.datasets.names import show

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REPORTED = 1000
MAX_REPORT_BYTES = 256 << 10
"""Size of the files in the report itself; all of them are listed in a file of their own."""
MAX_MESSAGE_BYTES = 1000
MAX_LAYOUT_BYTES = 4000
SYSTEM_FILE = "system_file"


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not used."""

    file: str
    code: str
    message: str
    is_damage: bool = True
    """False where it does a dataset no harm: duplicates, scripts and notes, images without a class."""

    def to_dict(self) -> dict[str, str]:
        """Convert to JSON, with names that can be written and are not too long."""
        return {"file": show(self.file), "code": self.code, "message": show(self.message, MAX_MESSAGE_BYTES)}


def sort_skipped(skipped: Sequence[SkippedFile]) -> list[SkippedFile]:
    """Sort damage first, and files of systems last."""
    return sorted(skipped, key=lambda one: (not one.is_damage, one.code == SYSTEM_FILE))


def build_report(
    accepted: int, skipped: Sequence[SkippedFile], notes: Sequence[str], depth: int | None
) -> dict[str, Any]:
    """Build the report of a dataset: counts, how the labels were found, and the first of the skipped files."""
    first: list[dict[str, str]] = []
    free = MAX_REPORT_BYTES
    for one in skipped[:MAX_REPORTED]:
        row = one.to_dict()
        free -= len(json.dumps(row))
        if free < 0:
            break
        first.append(row)
    layout = "; ".join(notes)
    return {
        "files": accepted + len(skipped),
        "accepted": accepted,
        "layout": show(layout[:1].upper() + layout[1:], MAX_LAYOUT_BYTES),
        "depth": depth,
        "counts": dict(Counter(one.code for one in skipped)),
        "skipped": first,
    }


def write_skipped(file: IO[bytes], skipped: Sequence[SkippedFile]) -> None:
    """Write all skipped files as lines of JSON."""
    for one in skipped:
        file.write(json.dumps(one.to_dict()).encode() + b"\n")


def summarize(bad: Sequence[SkippedFile]) -> str:
    """Count problems by code, and give the message of the first."""
    counts = ", ".join(f"{count} {code}" for code, count in Counter(one.code for one in bad).most_common())
    return f"({counts}). First: {show(bad[0].file, 255)}: {bad[0].message}"
