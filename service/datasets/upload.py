"""Uploads of datasets: archives of images, known by their first bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starlette.concurrency import run_in_threadpool

from service.datasets.errors import ArchiveTooLarge, ImportNotOffered, NotAnArchive
from service.uploads.errors import EmptyBody, FormMalformed
from service.uploads.form import FormShape, parse_name
from service.uploads.receiving import URL_ENCODED, Expected, receive

if TYPE_CHECKING:
    from fastapi import Request

    from service.storage import Storage

HOW = "as in: curl -X POST -T photos.zip URL"
FORM = FormShape(
    how="as in: curl -F file=@photos.zip URL",
    fields={"name": 1024},
    several="The form holds several files. Pack all images in one archive.",
)
STRIPPED = f"Line breaks and NULs were taken out of the archive, as curl -d does. Send it whole, {HOW}"
ZIP = b"PK\x03\x04"
TAR_MAGIC = slice(257, 262)
TAR_CHECKSUM = slice(148, 156)
TAR_HEADER_BYTES = 512
OTHER_ARCHIVES = {
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive",
    b"Rar!\x1a\x07": "a .rar archive",
    b"PK\x07\x08": "a part of a .zip that was split into several files",
}
"""First bytes of other archives, and what they are."""


class ReceivedArchive(NamedTuple):
    """An upload that is in the storage."""

    digest: str
    """SHA-256 in hex."""
    name: str
    """The name that a form gives the dataset; empty without one."""


async def receive_archive(request: Request, storage: Storage, key: str, limit: int) -> ReceivedArchive:
    """Stream the body, or the file of a form, at most `limit` bytes, to the storage under `key`.

    Raises ArchiveTooLarge, EmptyBody, FormMalformed, ImportNotOffered, NotAnArchive, UploadCutOff.
    """
    is_url_encoded = request.headers.get("content-type", "").lower().startswith(URL_ENCODED)

    def check_start(_name: str, start: bytes) -> None:
        check_magic(start)
        # Every .zip has a NUL here, which curl -d takes out too.
        if is_url_encoded and start.startswith(ZIP) and start[5:6] != b"\0":
            raise NotAnArchive(STRIPPED)

    too_large = ArchiveTooLarge(f"The archive has more than {limit} bytes, the limit here (GRAFT_MAX_ARCHIVE_BYTES).")
    expected = Expected(FORM, limit, too_large, NotAnArchive(STRIPPED), check_start)
    received = await receive(request, storage, {"file": key}, expected)
    try:
        name = parse_name(received.fields)
    except FormMalformed:
        await run_in_threadpool(storage.delete, key)
        raise
    return ReceivedArchive(received.files["file"].digest, name)


def check_magic(start: bytes) -> None:
    """Check that an upload begins as an archive. Raises EmptyBody, ImportNotOffered, NotAnArchive."""
    if not start:
        raise EmptyBody(f"The request has no body. Send the archive's bytes, {HOW}")
    zipped = start.startswith((ZIP, b"PK\x05\x06"))
    gzipped = start.startswith(b"\x1f\x8b")
    if zipped or gzipped or start[TAR_MAGIC] == b"ustar" or _is_old_tar(start):
        return
    for magic, name in OTHER_ARCHIVES.items():
        if start.startswith(magic):
            raise NotAnArchive(
                f"The body is {name}. Graft reads .zip, .tar and .tar.gz: pack the images as one of these."
            )
    if start.lstrip().startswith(b"{"):
        raise ImportNotOffered(
            f"The body is JSON, and Graft fetches nothing from other addresses. Send the archive's bytes, {HOW}; or by "
            'POST /v1/uploads, and name them: {"source": {"upload": "up_…"}}.'
        )
    raise NotAnArchive("The body is no .zip, .tar or .tar.gz. Pack the images, a folder for each class.")


def _is_old_tar(start: bytes) -> bool:
    """Tell whether the body begins with a header of tar from before POSIX, which only its checksum shows."""
    header = start[:TAR_HEADER_BYTES]
    checksum = header[TAR_CHECKSUM]
    blank = header[: TAR_CHECKSUM.start] + b" " * 8 + header[TAR_CHECKSUM.stop :]
    return len(header) == TAR_HEADER_BYTES and f"{sum(blank):o}".encode() == checksum.strip(b" \0").lstrip(b"0")
