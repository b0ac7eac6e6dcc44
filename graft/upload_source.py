"""Sources of uploads: a file, a folder whose files are listed once, or a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft import tar_stream

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class UploadSource:
    """Files that are uploaded as one."""

    path: Path
    is_folder: bool
    can_repeat: bool
    """False for a pipe, which can be read only once."""
    files: Mapping[Path, os.stat_result]
    """In the order in which they are sent, as they were when they were listed."""

    @property
    def size(self) -> int:
        """Bytes of all files; a pipe has none."""
        return sum(state.st_size for state in self.files.values())

    def read_blocks(self) -> Iterator[bytes]:
        """Yield the bytes to send, of a folder those of a tar. Raises OSError."""
        if self.is_folder:
            return tar_stream.pack_files(self.path, list(self.files))
        return tar_stream.read_blocks(self.path)


def list_source(given: str | Path | UploadSource) -> UploadSource:
    """List the files of a path, without hidden ones; what was listed already is taken as it is. Raises OSError."""
    if isinstance(given, UploadSource):
        return given
    path = Path(given)
    is_folder = path.is_dir()
    files = tar_stream.list_files(path) if is_folder else [path]
    return UploadSource(path, is_folder, is_folder or path.is_file(), {file: file.stat() for file in files})
