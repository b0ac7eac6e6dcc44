"""Readers of uploaded archives, which may be damaged or malicious."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_ENTRIES = 200_000
BYTES_PER_ENTRY = 128
"""Further entries need this many bytes of the archive each: an image has more, empty files and folders have less."""
MAX_RATIO = 200
"""Unpacked to packed bytes of a whole archive; photographs hardly shrink at all."""
RATIO_MIN_BYTES = 64 << 20


@dataclass(frozen=True)
class ArchiveMember:
    """A file as the archive lists it, before it is checked."""

    name: str
    size: int
    """Unpacked size in bytes, as the archive claims."""
    read: Callable[[], bytes]
    problem: tuple[str, str] | None = None
    """Code and message, where it is not a regular file."""


@dataclass(frozen=True)
class Limits:
    """Limits on the size of one archive."""

    bytes: int
    """Unpacked size of all its files."""
    files: int

    def check(self, total: int, files: int) -> None:
        """Raise DatasetRejected if there are too many bytes or files."""
        if total > self.bytes:
            raise DatasetRejected(
                "archive_too_large",
                f"The archive unpacks to more than {self.bytes} bytes. Send fewer or smaller images, or raise "
                "GRAFT_MAX_ARCHIVE_BYTES.",
            )
        if files > self.files:
            raise DatasetRejected(
                "archive_too_large",
                f"The archive has more than {self.files} files. Send fewer, or raise GRAFT_MAX_ARCHIVE_FILES.",
            )

    def check_entries(self, entries: int, packed: int) -> None:
        """Raise DatasetRejected if an archive of `packed` bytes has too many entries, folders included, for images."""
        self.check(0, entries)
        if entries > FREE_ENTRIES + packed // BYTES_PER_ENTRY:
            raise DatasetRejected(
                "archive_too_large",
                f"The archive has more than {entries - 1} files and folders in {packed} bytes, so most are empty. "
                "Send images and their folders only.",
            )


def check_ratio(unpacked: int, packed: int) -> None:
    """Raise DatasetRejected if an archive unpacks to many times its size."""
    if unpacked > max(RATIO_MIN_BYTES, MAX_RATIO * packed):
        raise DatasetRejected(
            "archive_too_large", f"The archive unpacks to more than {MAX_RATIO} times its size. Send image files only."
        )
