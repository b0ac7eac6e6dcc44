"""Read a tar archive's members, plain or gzipped, in one pass and in constant memory."""

from __future__ import annotations

import gzip
import tarfile
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn

from models.datasets.archives import ArchiveMember, check_ratio
from models.datasets.errors import DatasetRejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from models.datasets.archives import Limits

GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04"
MAX_HEADER_BYTES = 64 << 10
"""Size of an extended header; a header may claim gigabytes, which tarfile would read into memory."""
MAX_PADDING_BYTES = 16 << 20
"""Zeros after the end of the archive; writers fill their last record, mostly of 10 KiB."""
NOT_A_FILE = ("archive_not_a_file", "It is not a regular file. Remove it from the archive.")


def list_members(file: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    """List the files of a tar; read each before the next is asked for."""
    packed = file.seek(0, 2)
    file.seek(0)
    stream = _open_stream(file)
    entries = 0
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarInfo, encoding="utf-8") as archive:
        while (entry := archive.next()) is not None:
            # tarfile would keep all of them until the archive is closed.
            archive.members.clear()  # type: ignore[attr-defined]
            archive.pax_headers = {}
            entries += 1
            limits.check_entries(entries, packed)
            if stream is not file:
                check_ratio(entry.offset_data + entry.size, packed)
            if not entry.isdir():
                yield ArchiveMember(entry.name, entry.size, partial(_read, archive, entry), _find_problem(entry))
        _check_end(archive)


def _open_stream(file: IO[bytes]) -> IO[bytes]:
    if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
        file.seek(0)
        return file
    file.seek(0)
    start = gzip.GzipFile(fileobj=file).read(len(ZIP_MAGIC))
    file.seek(0)
    if start == ZIP_MAGIC:
        raise DatasetRejected("archive_nested", "The .gz holds a .zip. Unpack it by gunzip and send the .zip itself.")
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]


class _TarInfo(tarfile.TarInfo):
    """Headers, without two risks of tarfile: huge claimed sizes, and damage that is taken for the archive's end."""

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
        if (extended or named) and self.size > MAX_HEADER_BYTES:
            raise DatasetRejected(
                "archive_unreadable", "A header in the archive claims an impossible size. Create the archive again."
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            _reject_sparse()
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, *_: Any) -> None:
        _reject_sparse()


def _reject_sparse() -> NoReturn:
    """Reject sparse files, whose map may be endless."""
    raise DatasetRejected(NOT_A_FILE[0], "The archive has a sparse file. Create it again without --sparse.")


def _find_problem(entry: tarfile.TarInfo) -> tuple[str, str] | None:
    if entry.islnk() or entry.issym():
        return "archive_link", "It is a link. Put the file itself into the archive."
    return None if entry.isreg() and not entry.issparse() else NOT_A_FILE


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    assert file is not None
    data = file.read()
    if len(data) != entry.size:
        raise EOFError(f"{entry.name} is truncated")
    return data


def _check_end(archive: tarfile.TarFile) -> None:
    """Check that only zeros follow the end of the archive; reading them also verifies gzip's checksum."""
    assert archive.fileobj is not None
    rest = archive.fileobj.read(MAX_PADDING_BYTES + 1)
    if len(rest) > MAX_PADDING_BYTES or any(rest):
        raise DatasetRejected(
            "archive_unreadable",
            "There is data after the end of the archive: it is damaged, or several are joined. Create it again as one.",
        )
