"""Give uploads, whose names have no suffix, the one by which a library knows a format."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def link_with_suffix(file: Path, suffix: str, folder: Path) -> Path:
    """Link a file into a folder under a name with this suffix."""
    link = folder / f"network{suffix}"
    link.symlink_to(file.absolute())
    return link
