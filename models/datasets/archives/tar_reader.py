"""Tars, plain or gzipped: their files as they list them, in one pass and in constant memory."""

from __future__ import annotations

import gzip
import tarfile
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn

from models.datasets.archives.member import ArchiveMember
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

GZIP_MAGIC = b"\x1f\x8b"
MOST_HEADER_BYTES = 64 << 10
"""Of an extended header: one may claim gigabytes, which tarfile would read into memory."""
MOST_PADDING_BYTES = 16 << 20
"""After the end of the archive; writers fill up their last record, of 10 KiB mostly."""
NO_FILE = ("archive_not_a_file", "is no ordinary file. Leave it out.")


def walk(file: IO[bytes]) -> Iterator[ArchiveMember]:
    """Every file of the tar; each must be read before the next is asked for."""
    start = file.read(len(GZIP_MAGIC))
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if start == GZIP_MAGIC else file
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarInfo, encoding="utf-8") as archive:
        while (entry := archive.next()) is not None:
            # tarfile would keep all of them until the archive is closed.
            archive.members.clear()  # type: ignore[attr-defined]
            archive.pax_headers = {}
            if not entry.isdir():
                yield ArchiveMember(entry.name, entry.size, partial(_content, archive, entry), _fault(entry))
        _check_end(archive)


class _TarInfo(tarfile.TarInfo):
    """Headers that tarfile must not follow into large memory, nor take for the archive's end when they are damaged."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
        named = self.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
        if (extended or named) and self.size > MOST_HEADER_BYTES:
            raise DatasetRejected("archive_unreadable", "A header in the archive claims an absurd size. Make it again.")
        if self.type == tarfile.GNUTYPE_SPARSE:
            _reject_sparse()
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, *_: Any) -> None:
        _reject_sparse()


def _reject_sparse() -> NoReturn:
    """The map of a sparse file may be endless."""
    raise DatasetRejected(NO_FILE[0], "The archive holds a sparse file. Make it again without --sparse.")


def _fault(entry: tarfile.TarInfo) -> tuple[str, str] | None:
    if entry.islnk() or entry.issym():
        return "archive_link", "is a link. Put the file itself in the archive."
    return None if entry.isreg() and not entry.issparse() else NO_FILE


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    assert file is not None
    data = file.read()
    if len(data) != entry.size:
        raise EOFError(f"{entry.name} is cut off")
    return data


def _check_end(archive: tarfile.TarFile) -> None:
    """Only zeros follow the end; anything else was cut off by it. Reading on also verifies gzip's checksum."""
    assert archive.fileobj is not None
    rest = archive.fileobj.read(MOST_PADDING_BYTES + 1)
    if len(rest) > MOST_PADDING_BYTES or any(rest):
        raise DatasetRejected(
            "archive_unreadable",
            "The archive goes on after its end: it is damaged, or several are joined. Make it again as one.",
        )
