"""Malformed and unusual archives, and the result of reading them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import IO

import pytest

from models.datasets.archives import Limits
from models.datasets.archives.reader import read_files
from models.datasets.errors import DatasetRejected

LIMITS = Limits(bytes=1 << 20, files=100)


def contents(file: IO[bytes], limits: Limits = LIMITS) -> dict[str, bytes]:
    """Read all files of an archive that can be used."""
    return {str(member.path): member.read() for member in read_files(file, limits) if member.problem is None}


def problems(data: bytes) -> dict[str, str]:
    """Read the files of an archive that cannot be used, with their codes."""
    found = read_files(io.BytesIO(data), LIMITS)
    return {str(member.path): member.problem[0] for member in found if member.problem is not None}


def rejected(data: bytes, limits: Limits = LIMITS) -> str:
    """Read an archive that must be refused; gives the code."""
    with pytest.raises(DatasetRejected) as caught:
        contents(io.BytesIO(data), limits)
    assert len(str(caught.value)) > 20, "it says what to do"
    str(caught.value).encode()  # it can be written down
    return caught.value.code


def outcome(data: bytes) -> dict[str, bytes] | str:
    """Read the files of an archive, or the code under which it is refused."""
    try:
        return contents(io.BytesIO(data))
    except DatasetRejected as error:
        return error.code


def tar_entry(name: str, size: int = 0) -> tarfile.TarInfo:
    """Make an entry of a tar."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def tar_of(*entries: tarfile.TarInfo, kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Make a tar of unusual entries, of bytes x."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return file.getvalue()


def zip_of(*entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make a zip of unusual entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return file.getvalue()


def small_zip() -> bytes:
    """Make a zip of one file, as an upload that is accepted."""
    return zip_of(("cat/1.png", b"1"), method=zipfile.ZIP_STORED)
