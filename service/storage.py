"""Storage of large files (uploads, packs, training snapshots): a folder or a bucket that API and workers share."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem
from ulid import ULID

from service import disk_full

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 8 << 20


class StorageUnavailable(OSError):
    """The storage does not answer, or refuses; another try may succeed later."""


class Storage:
    """Files by key under a folder's path or one fsspec URL (file://, s3://). A file appears whole or not at all."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet. Raises ValueError for an unknown kind of URL, ImportError without its package."""
        folder = find_folder(url)
        self._root: str
        # fsspec itself would take a folder a::b for two file systems.
        self._files, self._root = (LocalFileSystem(), str(folder)) if folder else fsspec.url_to_fs(url)
        self._local = isinstance(self._files, LocalFileSystem)

    def check(self) -> None:
        """Check that the storage answers, and make its folder.

        Raises StorageUnavailable, and OSError where the folder cannot be made or a disk is full.
        """
        with _naming_errors():
            if not self._local:
                self._files.exists(self._root)
                return
            folder = Path(self._root)
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    @contextmanager
    def writing(self, key: str) -> Iterator[IO[bytes]]:
        """Open a file for writing: it appears under `key` when the block ends, and leaves no trace when it raises.

        Raises StorageUnavailable.
        """
        with self._write_local(key) if self._local else self._write_remote(key) as file:
            yield file

    @contextmanager
    def reading(self, key: str) -> Iterator[IO[bytes]]:
        """Open the file under `key` for reading, seekable; raises FileNotFoundError, StorageUnavailable."""
        with _naming_errors():
            file = self._files.open(self._path(key), "rb", block_size=BLOCK)
        with file:
            yield file

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read some bytes of the file under `key`, and no others; raises FileNotFoundError, StorageUnavailable."""
        with _naming_errors():
            content: bytes = self._files.cat_file(self._path(key), start=offset, end=offset + length)
        return content

    def put(self, path: Path, key: str) -> None:
        """Move a file of this machine to `key`, where it appears whole or not at all.

        Raises StorageUnavailable, and OSError where a disk is full.
        """
        with _naming_errors():
            if self._local:
                self._move_local(path, key)
            else:
                self._files.put_file(str(path), self._path(key))
                path.unlink()

    def delete(self, prefix: str) -> None:
        """Delete the file `prefix`, or every file in the folder `prefix`; none is fine.

        Raises StorageUnavailable.
        """
        with _naming_errors():
            if self._files.exists(self._path(prefix)):
                self._files.rm(self._path(prefix), recursive=True)
            if self._local:
                _remove_empty(Path(self._path(prefix)).parent)

    def list_old_files(self, prefix: str, seconds: float) -> list[str]:
        """List the keys of the files below the folder `prefix` that were not modified for `seconds`.

        Raises StorageUnavailable.
        """
        root = self._path("")
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        with _naming_errors():
            # An earlier listing may be cached.
            self._files.invalidate_cache()
            paths = self._files.find(self._path(prefix))
            return [path.removeprefix(root) for path in paths if self._modified(path) < before]

    def local_path(self, key: str, folder: Path) -> Path:
        """Get a path on this machine of the file under `key`, fetched into `folder` if it lies elsewhere.

        Raises FileNotFoundError, StorageUnavailable, and OSError where a disk is full.
        """
        with _naming_errors():
            if self._local:
                path = Path(self._path(key))
                path.stat()
                return path
            path = folder / key.replace("/", "_")
            self._files.get_file(self._path(key), str(path))
            return path

    def _modified(self, path: str) -> datetime:
        try:
            modified: datetime = self._files.modified(path)
        except FileNotFoundError:  # removed after it was listed
            return datetime.now(UTC)
        return modified

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _move_local(self, path: Path, key: str) -> None:
        target = Path(self._path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # The storage is another file system than the folder of this machine.
                with self._write_local(key) as copy:
                    shutil.copyfileobj(file, copy, BLOCK)
                path.unlink()

    @contextmanager
    def _write_local(self, key: str) -> Iterator[IO[bytes]]:
        path = Path(self._path(key))
        part = path.with_name(f"{path.name}.{ULID()}.part")
        with _naming_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("wb")
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            _remove_empty(path.parent)
            raise

    @contextmanager
    def _write_remote(self, key: str) -> Iterator[IO[bytes]]:
        with _naming_errors():
            file = self._files.open(self._path(key), "wb", block_size=BLOCK, autocommit=False)
        try:
            yield file
            with _naming_errors():
                file.close()
                file.commit()
        except BaseException:
            for end in (file.close, file.discard):  # one that stays open would be uploaded when its memory is freed
                with suppress(Exception):
                    end()
            raise


def find_folder(url: str) -> Path | None:
    """Find the folder that a path or a file:// URL names; None for every other URL."""
    if "://" not in url:
        return Path(url).absolute()
    if not url.startswith("file://"):
        return None
    literal = Path(url.removeprefix("file://"))
    # Earlier versions took file:///my%20data for the folder of that very name.
    return literal if literal.is_dir() else Path(unquote(str(literal)))


@contextmanager
def _naming_errors() -> Iterator[None]:
    """Raise StorageUnavailable for every error but a missing file and a full disk."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # the errors of networks come in many classes, and some are no OSErrors
        if disk_full.is_disk_full(error):
            raise
        raise StorageUnavailable(f"The storage (GRAFT_STORAGE_URL) does not answer: {error}.") from error


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something, or is removed already
        folder.rmdir()
