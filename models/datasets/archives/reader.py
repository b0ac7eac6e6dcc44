"""Read the files of an uploaded .zip, .tar or .tar.gz one by one, without extracting it."""

from __future__ import annotations

import errno
import lzma
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, NoReturn

from models.datasets import names
from models.datasets.archives import tar_reader, zip_reader
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import PurePosixPath

    from models.datasets.archives import ArchiveMember, Limits

MAX_FILE_BYTES = 256 << 20
NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
SYSTEM_FILE = ("system_file", "A file that the system made for itself, or a hidden one; it is no part of the dataset.")
READ_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RecursionError,
)
"""Errors that Python's readers raise on damaged or truncated archives."""


@dataclass(frozen=True)
class ArchiveFile:
    """A file of an archive; read it before the next file is asked for."""

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]
    problem: tuple[str, str] | None = None
    """Code and message, where the file cannot be used or is a system's own; it is not read then."""


def read_files(file: IO[bytes], limits: Limits) -> Iterator[ArchiveFile]:
    """Iterate over the files of an archive (seekable), in its order.

    Raises DatasetRejected, also where no file can be used.
    """
    unusable: ArchiveFile | None = None
    is_empty, hidden = True, ""
    try:
        for member in _check_limits(limits, _list_members(file, limits)):
            found = _check_member(member)
            if found.problem is None:
                is_empty = False
            elif found.problem is not SYSTEM_FILE:
                unusable = unusable or found
            else:
                hidden = hidden or str(found.path)
            yield found
    except READ_ERRORS as error:
        _reject_damaged(error)
    if is_empty and unusable is not None:
        assert unusable.problem is not None
        code, message = unusable.problem
        raise DatasetRejected(code, f"{names.show(str(unusable.path), 100)}: {message}")
    if is_empty and hidden:
        raise DatasetRejected(
            "archive_empty",
            f"All files of the archive are hidden or a system's own, such as {names.show(hidden, 100)}. Rename folders "
            "whose names begin with a dot.",
        )
    if is_empty:
        raise DatasetRejected("archive_empty", "The archive has no files. Put images in it, in one folder per class.")


def _list_members(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    is_zip = file.read(4) in zip_reader.MAGIC
    file.seek(0)
    return zip_reader.list_members(file, limits) if is_zip else tar_reader.list_members(file, limits)


def _check_limits(limits: Limits, members: Iterator[ArchiveMember]) -> Iterator[ArchiveMember]:
    total = 0
    for files, member in enumerate(members, 1):
        total += member.size
        limits.check(total, files)
        yield member


def _check_member(member: ArchiveMember) -> ArchiveFile:
    """Check the name and the kind of a file. Raises DatasetRejected for names that are not UTF-8."""
    path = names.parse_path(member.name)
    read = partial(_read, member.read)
    if names.is_system_file(path):
        return ArchiveFile(path, member.size, read, SYSTEM_FILE)
    if not names.is_utf8(member.name):
        raise DatasetRejected(
            "archive_name_not_utf8",
            f"The name {member.name[:100]!a} is not UTF-8. Rename the file, or create the archive with UTF-8 names.",
        )
    return ArchiveFile(path, member.size, read, _find_problem(path, member))


def _find_problem(path: PurePosixPath, member: ArchiveMember) -> tuple[str, str] | None:
    if (unsafe := names.find_problem(path)) is not None:
        return "archive_unsafe_path", unsafe
    if member.problem is not None:
        return member.problem
    if path.name.lower().endswith(NESTED):
        return "archive_nested", "It is an archive in the archive. Send it alone, or put its files into this one."
    if member.size > MAX_FILE_BYTES:
        return "file_too_large", f"It has {member.size} bytes; a file may have {MAX_FILE_BYTES}. Make it smaller."
    return None


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except READ_ERRORS as error:
        _reject_damaged(error)


def _reject_damaged(error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
        raise error  # the storage failed, not the archive: another attempt may succeed
    raise DatasetRejected(
        "archive_unreadable", f"The archive is damaged or truncated ({error}). Create it again and send it again."
    )
