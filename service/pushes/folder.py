"""Files of an export that is a folder as zip, one after another, in constant memory."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.storage import Storage


class ExportedFolder:
    """The files of a folder; each can be opened, and read from its start more than once."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        """Sizes by name."""

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(self.sizes.values())

    def open(self, name: str) -> IO[bytes]:
        """Open a file, which is seekable: it is stored as it is."""
        return self._archive.open(name)


@contextmanager
def open_folder(storage: Storage, key: str) -> Iterator[ExportedFolder]:
    """Open the zip under a key of the storage. Raises FileNotFoundError, StorageUnavailable."""
    with storage.reading(key) as file, zipfile.ZipFile(file) as archive:
        yield ExportedFolder(archive)
