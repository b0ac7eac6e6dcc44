"""Archives from strangers: .zip, .tar and .tar.gz, read file by file and never extracted."""

from __future__ import annotations

import io
import tarfile
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, NoReturn

from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_NAME_BYTES = 255
MOST_HEADER_BYTES = 64 << 10
"""Of an extended tar header: one may claim gigabytes, which tarfile would read into memory."""
MOST_FILE_BYTES = 256 << 20
MOST_RATIO = 200
"""Unpacked to packed bytes, of a whole zip; photographs hardly shrink at all."""
RATIO_COUNTS_FROM = 64 << 20
NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
LINK_BITS, LINK = 0xF000, 0xA000
LOCAL_HEADER_BYTES = 30
DAMAGES = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
"""What Python's readers raise of archives that are damaged or cut off."""


@dataclass(frozen=True)
class Limits:
    """What one archive may hold."""

    bytes: int
    """Of all its files, unpacked."""
    files: int


@dataclass(frozen=True)
class Member:
    """A regular file of an archive. Its bytes must be read before the next member is asked for."""

    path: PurePosixPath
    read: Callable[[], bytes]


def members(file: IO[bytes], limits: Limits) -> Iterator[Member]:
    """Every regular file of the archive (seekable), in its order; raises DatasetRejected."""
    start = file.read(4)
    file.seek(0)
    walk = _zip(file, limits) if start[:2] == b"PK" else _tar(file)
    seen: set[str] = set()
    total = 0
    try:
        for path, size, read in walk:
            total += size
            _check_totals(total, len(seen), limits)
            name = str(path).casefold()
            if name in seen:
                _reject("archive_duplicate_name", f"Two files are called {path}. Rename one.")
            seen.add(name)
            yield Member(path, partial(_read, read))
    except DAMAGES as error:
        _reject_damaged(error)
    if not seen:
        _reject("archive_empty", "The archive holds no files. Put pictures in it, a folder for each class.")


_Found = tuple[PurePosixPath, int, "Callable[[], bytes]"]


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except DAMAGES as error:
        _reject_damaged(error)


def _zip(file: IO[bytes], limits: Limits) -> Iterator[_Found]:
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _check_totals(sum(entry.file_size for entry in entries), len(entries), limits)
        _check_overlaps(entries)
        for entry in entries:
            if (entry.external_attr >> 16) & LINK_BITS == LINK:
                _reject("archive_link", f"{entry.filename} is a link. Put the file itself in the archive.")
            if entry.flag_bits & 1:
                _reject("archive_encrypted", "The archive is encrypted. Send one without a password.")
            path = _safe(entry.orig_filename)
            _check_size(path, entry.file_size)
            yield path, entry.file_size, lambda entry=entry: archive.read(entry)  # type: ignore[misc]


def _check_overlaps(entries: list[zipfile.ZipInfo]) -> None:
    """Files that share their packed bytes are how 10 MB unfold into terabytes."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            _reject("archive_overlapping", "Files of the archive overlap. Make it again with an ordinary tool.")
        end = entry.header_offset + LOCAL_HEADER_BYTES + len(entry.orig_filename.encode()) + entry.compress_size
    unpacked, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if unpacked > max(RATIO_COUNTS_FROM, MOST_RATIO * packed):
        _reject("archive_too_large", f"The archive unfolds to more than {MOST_RATIO} times its size.")


class _TarInfo(tarfile.TarInfo):
    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
        named = self.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
        if (extended or named) and self.size > MOST_HEADER_BYTES:
            _reject("archive_unreadable", "A header in the archive claims an absurd size. Make it again.")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _tar(file: IO[bytes]) -> Iterator[_Found]:
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r|gz" if compressed else "r|", tarinfo=_TarInfo) as archive:
        for entry in archive:
            if entry.isdir():
                continue
            if entry.islnk() or entry.issym():
                _reject("archive_link", f"{entry.name} is a link. Put the file itself in the archive.")
            if not entry.isreg() or entry.issparse():
                _reject("archive_not_a_file", f"{entry.name} is no ordinary file. Leave it out.")
            path = _safe(entry.name)
            _check_size(path, entry.size)
            yield path, entry.size, lambda entry=entry: _content(archive, entry)  # type: ignore[misc]


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry) or io.BytesIO()
    data = file.read()
    if len(data) != entry.size:
        raise EOFError(f"{entry.name} is cut off")
    return data


def _safe(name: str) -> PurePosixPath:
    """The path of a name, normalized; one that could leave its folder is no path of ours."""
    name = unicodedata.normalize("NFC", name).removeprefix("./")
    parts = name.split("/")
    bad = (
        name.startswith("/")
        or "\\" in name
        or ".." in parts
        or (len(name) > 1 and name[1] == ":")
        or any(unicodedata.category(character) == "Cc" for character in name)
        or any(len(part.encode(errors="replace")) > MOST_NAME_BYTES for part in parts)
    )
    if bad:
        _reject(
            "archive_unsafe_path",
            f"{name[:100]!r} is absolute, leaves its folder, or has forbidden characters. Use plain relative names.",
        )
    return PurePosixPath(name)


def _check_size(path: PurePosixPath, size: int) -> None:
    if path.name.lower().endswith(NESTED):
        _reject("archive_nested", f"{path} is itself an archive. Put its files into the archive directly.")
    if size > MOST_FILE_BYTES:
        _reject("archive_too_large", f"{path} has {size} bytes; a file may have {MOST_FILE_BYTES}.")


def _check_totals(total: int, files: int, limits: Limits) -> None:
    if total > limits.bytes:
        _reject(
            "archive_too_large",
            f"The archive unfolds to more than {limits.bytes} bytes (GRAFT_MAX_ARCHIVE_BYTES).",
        )
    if files > limits.files:
        _reject(
            "archive_too_large",
            f"The archive holds more than {limits.files} files (GRAFT_MAX_ARCHIVE_FILES).",
        )


def _reject_damaged(error: Exception) -> NoReturn:
    _reject("archive_unreadable", f"The archive is damaged or cut off ({error}). Make it again and send it again.")


def _reject(code: str, message: str) -> NoReturn:
    raise DatasetRejected(code, message)
