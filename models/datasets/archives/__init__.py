"""Readers of uploaded archives, which may be damaged or malicious."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class ArchiveMember:
    """A file as the archive lists it, before it is checked."""

    name: str
    size: int
    """Unpacked size in bytes, as the archive claims."""
    read: Callable[[], bytes]
    problem: tuple[str, str] | None = None
    """Code and message, where it is not a regular file."""
