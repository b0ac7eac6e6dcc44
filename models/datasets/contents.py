"""Read an archive's images into a pack, decoding each once, and keep its tables."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

from models.datasets import layout
from models.datasets.archives.reader import MAX_FILE_BYTES, read_files
from models.datasets.errors import DatasetRejected
from models.datasets.report import SYSTEM_FILE, SkippedFile
from models.datasets.table_reader import LABEL_TABLES
from models.images import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import PurePosixPath

    from models.datasets.archives import Limits

HARMLESS = {SYSTEM_FILE, "archive_nested"}
"""Codes of files that are not read, and do a dataset no harm."""
LOOKAHEAD = 16
"""Images that are decoded at the same time: bounds memory."""
MAX_TABLES = 100
"""Tables that are kept, beside those with the names of label tables."""
MAX_LABEL_TABLES = 1000
FREE_SECONDS = 120.0
SECONDS_PER_BYTE = 1e-5
"""Processor time of a validation: what an archive of ordinary images takes many times over."""


@dataclass
class File:
    """A file of an archive: an image, with its place in the pack, or what it is not used for."""

    path: PurePosixPath
    image: decode.CheckedImage | None = None
    """The image, if it is good."""
    digest: bytes = b""
    """Of all bits of its pixels; of an accepted image, of the 8 bits that its dataset's depth leaves."""
    offset: int = 0
    length: int = 0
    problem: tuple[str, str] | None = None
    """Code and message."""
    has_copies: bool = False
    """Whether other files have the same image."""


@dataclass
class ArchiveContents:
    """The files of an archive, in its order, and its tables by path."""

    files: list[File] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    """Files that were not read: those of systems, and those whose names or forms cannot be used."""
    tables: dict[PurePosixPath, bytes] = field(default_factory=dict)
    table_bytes: int = 0
    seen: dict[PurePosixPath, bytes] = field(default_factory=dict)
    """Files by path, with the digests of their bytes."""


def read_archive(archive: IO[bytes], pack: IO[bytes], limits: Limits, heartbeat: Callable[[], None]) -> ArchiveContents:
    """Read all files, and write each image to the pack once."""
    contents = ArchiveContents()
    written: dict[bytes, tuple[int, int]] = {}
    end = 0
    for file, data in _decode_files(archive, limits, contents, heartbeat):
        contents.files.append(file)
        if file.problem:
            continue
        if file.digest not in written:
            pack.write(data)
            written[file.digest] = (end, len(data))
            end += len(data)
        file.offset, file.length = written[file.digest]
    return contents


def _decode_files(
    archive: IO[bytes], limits: Limits, contents: ArchiveContents, heartbeat: Callable[[], None]
) -> Iterator[tuple[File, bytes]]:
    """Decode each file, in the archive's order; Pillow releases the interpreter lock, so threads use all cores.

    Files with the same bytes are decoded once.
    """
    decoded: dict[bytes, Future[File] | File] = {}
    ahead: deque[tuple[PurePosixPath, bytes, bytes]] = deque()
    check_time = _build_time_check(archive)
    with ThreadPoolExecutor(thread_name_prefix="decode") as threads:
        for path, data in _read_new_files(archive, limits, contents):
            heartbeat()
            check_time()
            digest = contents.seen[path]
            if digest not in decoded:
                decoded[digest] = threads.submit(_decode_file, path, data)
            ahead.append((path, data, digest))
            if len(ahead) > LOOKAHEAD:
                yield _take_decoded(decoded, *ahead.popleft())
        while ahead:
            yield _take_decoded(decoded, *ahead.popleft())


def _take_decoded(
    decoded: dict[bytes, Future[File] | File], path: PurePosixPath, data: bytes, digest: bytes
) -> tuple[File, bytes]:
    found = decoded[digest]
    if isinstance(found, Future):
        found = decoded[digest] = found.result()
    return replace(found, path=path), data


def _read_new_files(
    archive: IO[bytes], limits: Limits, contents: ArchiveContents
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Read the files that may be images, each once; tables are kept."""
    for file in read_files(archive, limits):
        if file.problem is not None:
            is_damage = file.problem[0] not in HARMLESS
            contents.skipped.append(SkippedFile(str(file.path), *file.problem, is_damage=is_damage))
            continue
        data = file.read()
        digest = hashlib.sha256(data).digest()
        if file.path in contents.seen:
            if contents.seen[file.path] != digest:
                raise DatasetRejected("archive_duplicate_name", f"Two files are named {file.path}. Rename one.")
            message = "The archive has the file twice."
            contents.skipped.append(SkippedFile(str(file.path), "duplicate", message, is_damage=False))
            continue
        contents.seen[file.path] = digest
        if not _keep_table(contents, file.path, data):
            yield file.path, data


def _keep_table(contents: ArchiveContents, path: PurePosixPath, data: bytes) -> bool:
    """Keep a file if it may be a table of labels."""
    is_known = path.stem.lower() in LABEL_TABLES
    if not layout.is_table(path) or (len(contents.tables) >= MAX_TABLES and not is_known):
        return False
    if len(contents.tables) >= MAX_LABEL_TABLES:
        raise DatasetRejected(
            "labels_ambiguous", f"The archive has more than {MAX_LABEL_TABLES} tables of labels. Join them into one."
        )
    contents.table_bytes += len(data)
    if contents.table_bytes > MAX_FILE_BYTES:
        raise DatasetRejected("labels_too_large", f"The archive's tables have more than {MAX_FILE_BYTES} bytes.")
    contents.tables[path] = data
    return True


def _build_time_check(archive: IO[bytes]) -> Callable[[], None]:
    """Build a check that raises DatasetRejected once the validation has taken too much processor time."""
    position = archive.tell()
    most = FREE_SECONDS + SECONDS_PER_BYTE * archive.seek(0, 2)
    archive.seek(position)
    start = time.process_time()

    def check() -> None:
        if time.process_time() - start > most:
            raise DatasetRejected(
                "validation_too_slow",
                f"Reading the images took more than {most:.0f} seconds of processor time, many times as long as usual. "
                "Send smaller images, or several archives.",
            )

    return check


def _decode_file(path: PurePosixPath, data: bytes) -> File:
    try:
        image = decode.check(data)
    except decode.BadImage as problem:
        return File(path, problem=(problem.code, str(problem)))
    return File(path, image, image.digest)
