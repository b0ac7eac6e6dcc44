"""Read a zip archive's members."""

from __future__ import annotations

import zipfile
from functools import partial
from typing import IO, TYPE_CHECKING

from models.datasets.archives import ArchiveMember
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.datasets.archives.reader import Limits

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a zip with files, and of an empty one."""
MAX_RATIO = 200
"""Unpacked to packed bytes of a whole zip; photographs hardly shrink at all."""
RATIO_MIN_BYTES = 64 << 20
LINK_BITS, LINK = 0xF000, 0xA000
ENCRYPTED, UTF8 = 0x1, 0x800
"""Bits of an entry's flags."""
LOCAL_HEADER_BYTES = 30


def list_members(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    """List the files of a zip, after a check of the sizes that it claims in all."""
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not _name(entry).endswith(("/", "\\"))]
        limits.check(sum(entry.file_size for entry in entries), len(entries))
        _check_overlaps(entries)
        _check_ratio(entries)
        for entry in entries:
            yield ArchiveMember(_name(entry), entry.file_size, partial(archive.read, entry), _find_problem(entry))


def _stored_name(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & UTF8 else "cp437")


def _name(entry: zipfile.ZipInfo) -> str:
    try:
        return _stored_name(entry).decode()  # macOS writes UTF-8 without setting the flag
    except UnicodeDecodeError:
        return entry.orig_filename


def _find_problem(entry: zipfile.ZipInfo) -> tuple[str, str] | None:
    if (entry.external_attr >> 16) & LINK_BITS == LINK:
        return "archive_link", "is a link. Put the file itself into the archive."
    if entry.flag_bits & ENCRYPTED:
        return "archive_encrypted", "is encrypted. Create the archive without a password."
    return None


def _check_overlaps(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Reject files that share packed bytes: this is how 10 MB unpack to terabytes."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise DatasetRejected(
                "archive_overlapping", "Files of the archive overlap. Create it again with a common zip program."
            )
        end = entry.header_offset + LOCAL_HEADER_BYTES + len(_stored_name(entry)) + entry.compress_size


def _check_ratio(entries: Sequence[zipfile.ZipInfo]) -> None:
    unpacked, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if unpacked > max(RATIO_MIN_BYTES, MAX_RATIO * packed):
        raise DatasetRejected(
            "archive_too_large", f"The archive unpacks to more than {MAX_RATIO} times its size. Send image files only."
        )
