"""What an archive lists: a file's name and size and how to read it, before any of it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class ArchiveMember:
    """One file, as its archive lists it."""

    name: str
    size: int
    """Bytes, unpacked, as the archive claims."""
    read: Callable[[], bytes]
    fault: tuple[str, str] | None = None
    """Code, and in words, why it is no ordinary file."""
