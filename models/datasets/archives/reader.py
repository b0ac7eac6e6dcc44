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

    from models.datasets.archives import ArchiveMember

MAX_FILE_BYTES = 256 << 20
NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
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


@dataclass(frozen=True)
class ArchiveFile:
    """A regular file of an archive; read it before the next file is asked for."""

    path: PurePosixPath
    read: Callable[[], bytes]


def read_files(file: IO[bytes], limits: Limits) -> Iterator[ArchiveFile]:
    """Iterate over the regular files of an archive (seekable), without junk, in its order; raises DatasetRejected."""
    seen: set[str] = set()
    try:
        for member in _check_limits(limits, _list_members(file, limits)):
            path = names.parse_path(member.name)
            if names.is_junk(path):
                continue
            names.check_path(path)
            _check_member(path, member)
            if str(path) in seen:
                raise DatasetRejected("archive_duplicate_name", f"Two files are named {path}. Rename one.")
            seen.add(str(path))
            yield ArchiveFile(path, partial(_read, member.read))
    except READ_ERRORS as error:
        _reject_damaged(error)
    if not seen:
        raise DatasetRejected("archive_empty", "The archive has no files. Put images in it, in one folder per class.")


def _list_members(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    is_zip = file.read(4) in zip_reader.MAGIC
    file.seek(0)
    return zip_reader.list_members(file, limits) if is_zip else tar_reader.list_members(file)


def _check_limits(limits: Limits, members: Iterator[ArchiveMember]) -> Iterator[ArchiveMember]:
    total = 0
    for files, member in enumerate(members, 1):
        total += member.size
        limits.check(total, files)
        yield member


def _check_member(path: PurePosixPath, member: ArchiveMember) -> None:
    if member.problem is not None:
        code, message = member.problem
        raise DatasetRejected(code, f"{path} {message}")
    if path.name.lower().endswith(NESTED):
        raise DatasetRejected("archive_nested", f"{path} is an archive. Put its files into this archive directly.")
    if member.size > MAX_FILE_BYTES:
        raise DatasetRejected(
            "archive_too_large", f"{path} has {member.size} bytes; a file may have {MAX_FILE_BYTES}. Make it smaller."
        )


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
