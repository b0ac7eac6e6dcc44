"""Archives from strangers: .zip, .tar and .tar.gz, read file by file and never extracted."""

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

    from models.datasets.archives.member import ArchiveMember

MOST_FILE_BYTES = 256 << 20
NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
DAMAGES = (
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
"""What Python's readers raise of archives that are damaged or cut off."""


@dataclass(frozen=True)
class Limits:
    """What one archive may hold."""

    bytes: int
    """Of all its files, unpacked."""
    files: int

    def check(self, total: int, files: int) -> None:
        """Raises DatasetRejected for so many bytes and files if they are too many."""
        if total > self.bytes:
            raise DatasetRejected(
                "archive_too_large",
                f"The archive unfolds to more than {self.bytes} bytes (GRAFT_MAX_ARCHIVE_BYTES).",
            )
        if files > self.files:
            raise DatasetRejected(
                "archive_too_large",
                f"The archive holds more than {self.files} files (GRAFT_MAX_ARCHIVE_FILES).",
            )


@dataclass(frozen=True)
class Member:
    """A regular file of an archive. Its bytes must be read before the next member is asked for."""

    path: PurePosixPath
    read: Callable[[], bytes]


def members(file: IO[bytes], limits: Limits) -> Iterator[Member]:
    """Every regular file of the archive (seekable) but junk, in its order; raises DatasetRejected."""
    seen: set[str] = set()
    try:
        for listed in _within(limits, _walk(file, limits)):
            path = names.path_of(listed.name)
            if names.is_junk(path):
                continue
            names.check(path)
            _check(path, listed)
            if str(path) in seen:
                raise DatasetRejected("archive_duplicate_name", f"Two files are called {path}. Rename one.")
            seen.add(str(path))
            yield Member(path, partial(_read, listed.read))
    except DAMAGES as error:
        _reject_damaged(error)
    if not seen:
        raise DatasetRejected("archive_empty", "The archive holds no files. Put images in it, a folder for each class.")


def _walk(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    zipped = file.read(4) in zip_reader.STARTS
    file.seek(0)
    return zip_reader.walk(file, limits) if zipped else tar_reader.walk(file)


def _within(limits: Limits, walk: Iterator[ArchiveMember]) -> Iterator[ArchiveMember]:
    total = 0
    for files, listed in enumerate(walk, 1):
        total += listed.size
        limits.check(total, files)
        yield listed


def _check(path: PurePosixPath, listed: ArchiveMember) -> None:
    if listed.fault is not None:
        code, what = listed.fault
        raise DatasetRejected(code, f"{path} {what}")
    if path.name.lower().endswith(NESTED):
        raise DatasetRejected(
            "archive_nested", f"{path} is itself an archive. Put its files into the archive directly."
        )
    if listed.size > MOST_FILE_BYTES:
        raise DatasetRejected(
            "archive_too_large", f"{path} has {listed.size} bytes; a file may have {MOST_FILE_BYTES}."
        )


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except DAMAGES as error:
        _reject_damaged(error)


def _reject_damaged(error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
        raise error  # the storage's fault, not the archive's: it may be read another time
    raise DatasetRejected(
        "archive_unreadable", f"The archive is damaged or cut off ({error}). Make it again and send it again."
    )
