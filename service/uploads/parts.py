"""Files in parts: the pieces of a resumable upload are read as one file, without being copied together."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from service.storage import Storage
    from service.uploads.repository import Part

FOLDER = "uploads"
"""The folder of all resumable uploads in the storage."""
BLOCK = 1 << 20


def get_folder(upload_id: str) -> str:
    """Get the folder of an upload's pieces in the storage, which is also the key of the file that they make up."""
    return f"{FOLDER}/{upload_id}"


def find_upload(key: str) -> str | None:
    """Find the upload to which a file of the storage belongs."""
    folder, _, rest = key.partition("/")
    return rest.partition("/")[0] if folder == FOLDER else None


def write_list(storage: Storage, upload_id: str, parts: Sequence[Part]) -> None:
    """Write the list of an upload's pieces beside them; with it, `reading` needs no database."""
    with storage.writing(f"{get_folder(upload_id)}/parts") as file:
        file.write(json.dumps([[part.name, part.bytes] for part in parts]).encode())


@contextmanager
def reading(storage: Storage, key: str) -> Iterator[IO[bytes]]:
    """Open a file of the storage for reading, seekable, in one piece or in parts.

    Raises FileNotFoundError, StorageUnavailable.
    """
    if find_upload(key) is None:
        with storage.reading(key) as file:
            yield file
        return
    with storage.reading(f"{key}/parts") as listed:
        names = [(f"{key}/{name}", size) for name, size in json.load(listed)]
    with io.BufferedReader(FileInParts(storage, names), BLOCK) as joined:
        yield joined


def local_path(storage: Storage, key: str, folder: Path) -> Path:
    """Get a path on this machine of a file of the storage, copied into `folder` if it lies elsewhere or in parts.

    Raises FileNotFoundError, StorageUnavailable, and OSError where a disk is full.
    """
    if find_upload(key) is None:
        return storage.local_path(key, folder)
    path = folder / key.replace("/", "_")
    with reading(storage, key) as file, path.open("wb") as copy:
        while block := file.read(BLOCK):
            copy.write(block)
    return path


class FileInParts(io.RawIOBase):
    """Reader of several files, one after another, as one that is seekable; one of them is open at a time."""

    def __init__(self, storage: Storage, parts: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self._storage = storage
        self._keys = [key for key, _ in parts]
        self._starts = [0, *accumulate(size for _, size in parts)]
        self._position = 0
        self._opened = ExitStack()
        self._part: int | None = None
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from any position."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Tell the position."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read from the part at the position, as much as it has; 0 at the end."""
        if self._position >= self._starts[-1]:
            return 0
        part = bisect_right(self._starts, self._position) - 1
        file = self._open(part)
        file.seek(self._position - self._starts[part])
        most = min(len(buffer), self._starts[part + 1] - self._position)
        data = file.read(most)
        if not data:
            raise FileNotFoundError(f"{self._keys[part]} is cut off in the storage")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the part that is open."""
        self._opened.close()
        super().close()

    def _open(self, part: int) -> IO[bytes]:
        if self._file is None or self._part != part:
            self._opened.close()
            self._file, self._part = self._opened.enter_context(self._storage.reading(self._keys[part])), part
        return self._file
