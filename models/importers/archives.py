"""Unpack an uploaded archive of a network's folder: regular files under safe names, within limits, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

from models.datasets import names
from models.datasets.archives import Limits, tar_reader, zip_reader
from models.datasets.archives.reader import READ_ERRORS
from models.datasets.errors import DatasetRejected
from models.importers.errors import ImportRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.datasets.archives import ArchiveMember

MAX_FILES = 20_000
"""Most files of an archive: a network's folder has dozens, and samples some hundreds."""
MAX_BYTES = 64 << 30
"""Most bytes that an archive may unpack to; the child's limit on the size of one file is below that."""
DAMAGED = "archive_damaged"


def list_zip_names(path: Path) -> set[str]:
    """List the names in a zip; raises ImportRejected."""
    with path.open("rb") as file:
        return {member.name for member in _list_members(file, path.name)}


def read_zip_entry(path: Path, name: str) -> bytes | None:
    """Read an entry of a zip, the last path of which is `name`; None if it has none. Raises ImportRejected."""
    with path.open("rb") as file:
        for member in _list_members(file, path.name):
            if names.parse_path(member.name).name == name:
                return _read(member, path.name)
    return None


def unpack(path: Path, folder: Path, shown: str, heartbeat: Callable[[], None]) -> list[Path]:
    """Unpack a zip, tar or tar.gz into an empty folder; returns its files. Raises ImportRejected.

    What systems add (hidden files, __MACOSX) is left out. A link, or a name that leaves the folder, refuses the whole.
    """
    written: list[Path] = []
    with path.open("rb") as file:
        for member in _list_members(file, shown):
            heartbeat()
            relative = names.parse_path(member.name)
            if names.is_system_file(relative) or not relative.parts:
                continue
            problem = names.find_problem(relative) or (member.problem[1] if member.problem else None)
            if problem is not None or not names.is_utf8(member.name):
                raise ImportRejected(
                    "archive_unsafe",
                    f"{shown} holds {names.show(str(relative), 100)}: {problem or 'Its name is not UTF-8.'} "
                    "Pack the network's folder again without it.",
                )
            target = folder / Path(*relative.parts)
            if target.exists():
                raise ImportRejected(
                    "archive_unsafe", f"{shown} holds {names.show(str(relative), 100)} twice. Pack the folder again."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_read(member, shown))
            written.append(target)
    return written


def _list_members(file: IO[bytes], shown: str) -> Iterator[ArchiveMember]:
    limits = Limits(MAX_BYTES, MAX_FILES)
    is_zip = file.read(4) in zip_reader.MAGIC
    file.seek(0)
    try:
        yield from zip_reader.list_members(file, limits) if is_zip else tar_reader.list_members(file, limits)
    except READ_ERRORS as error:
        raise _damaged(shown, error) from error
    except DatasetRejected as error:
        problem = str(error).partition(". ")[0].rstrip(".")  # what follows is advice about images
        raise ImportRejected(
            error.code, f"{shown} cannot be unpacked: {problem}. Send an archive with one network's folder alone."
        ) from error


def _read(member: ArchiveMember, shown: str) -> bytes:
    try:
        return member.read()
    except READ_ERRORS as error:
        raise _damaged(shown, error) from error


def _damaged(shown: str, error: Exception) -> ImportRejected:
    return ImportRejected(
        DAMAGED, f"{shown} is a damaged or truncated archive ({error}). Create it again, and send it again."
    )
