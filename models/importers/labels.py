"""Names of a classifier's classes: the request's, of a file beside the network, or of the network's own file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.importers.report import ImportReport

MAX_BYTES = 16 << 20
MAX_NAME = 255
SYNSET = re.compile(r"(n\d{8})[\s,:]+(.+)")
"""A line of ImageNet's synset_words.txt."""
NUMBERED = re.compile(r"(\d+)[\s,:]+(.+)")


def choose_labels(
    given: Sequence[str] | None, beside: Path | None, own: Sequence[str] | None, classes: int, report: ImportReport
) -> list[str] | None:
    """Choose the names of the classes; raises ImportRejected where the request's are not as many as the classes."""
    if given is not None:
        if len(given) != classes:
            raise ImportRejected(
                "labels_unfit",
                f"There are {len(given)} labels, and the network has {classes} classes. Send one label for each class, "
                "in the classifier's order.",
            )
        return list(given)
    for labels, where in ((None if beside is None else read_labels(beside), "the archive"), (own, "the file")):
        if labels is not None and len(labels) == classes:
            return list(labels)
        if labels:
            report.notes.append(
                f"{where.capitalize()} has {len(labels)} labels, and the network {classes} classes: unused."
            )
    return None


def read_labels(file: Path) -> list[str] | None:
    """Read labels, one in a line, or a JSON list or object by index; None if it holds none."""
    if file.stat().st_size > MAX_BYTES:
        return None
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        return None
    labels = _parse_json(text) if file.suffix.lower() == ".json" else _parse_lines(text)
    return labels if labels and all(len(label) <= MAX_NAME for label in labels) else None


def _parse_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (SYNSET, NUMBERED):
        matches = [pattern.fullmatch(line) for line in lines]
        found = [match for match in matches if match is not None]
        if len(found) == len(lines) and (
            pattern is SYNSET or [int(match[1]) for match in found] == list(range(len(found)))
        ):
            return [match[2] for match in found]
    return lines


def _parse_json(text: str) -> list[str] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and all(key.isdecimal() for key in content):
        content = [content[key] for key in sorted(content, key=int)]
    if not isinstance(content, list):
        return None
    names = [_name(one) for one in content]
    return [name for name in names if name is not None] if None not in names else None


def _name(entry: Any) -> str | None:
    """Name a class by its entry: a name, or as Keras's index has it, [WordNet id, name]."""
    if isinstance(entry, list) and entry:
        entry = entry[-1]
    return entry if isinstance(entry, str) else None
