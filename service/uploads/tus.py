"""Headers of tus 1.0.0, the protocol of resumable uploads (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import MutableHeaders

from service.uploads.errors import (
    ChecksumMismatch,
    TusVersionUnsupported,
    UploadHeaderMalformed,
    UploadTooLarge,
    UploadTypeUnsupported,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.tables import Upload

PATH = "/v1/uploads"
VERSION = "1.0.0"
EXTENSIONS = "creation,creation-defer-length,creation-with-upload,termination,checksum,expiration"
CHECKSUMS = ("sha1", "sha256")
PIECE_TYPE = "application/offset+octet-stream"
METADATA_BYTES = 4096
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_PAIR = re.compile(r"([!-+\--~]+)(?: ([A-Za-z0-9+/]*={0,2}))?", re.ASCII)
"""A name without spaces and commas, and its value in base64."""


class Checksum(NamedTuple):
    """The checksum of a piece, as its sender has it."""

    algorithm: str
    digest: bytes

    def check(self, found: bytes) -> None:
        """Check the digest of what has come. Raises ChecksumMismatch."""
        if found != self.digest:
            raise ChecksumMismatch(f"The piece differs from its {self.algorithm}, and is not kept. Send it again.")


class TusHeaders:
    """ASGI middleware that adds the protocol's version to every response under /v1/uploads, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its response names the version, and is kept in no cache."""
        if scope["type"] != "http" or not is_upload(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({"Tus-Resumable": VERSION, "Tus-Version": VERSION, "Cache-Control": "no-store"})
            await send(message)

        await self.app(scope, receive, send_version)


def is_upload(path: str) -> bool:
    """Tell whether an address is one of resumable uploads."""
    return path == PATH or path.startswith(f"{PATH}/")


def check_version(headers: Mapping[str, str]) -> None:
    """Check that a request follows tus 1.0.0. Raises TusVersionUnsupported."""
    version = headers.get("tus-resumable")
    if version != VERSION:
        follows = "does not say that it follows tus" if version is None else f"follows tus {version[:20]}"
        raise TusVersionUnsupported(
            f"The request {follows}; send the header Tus-Resumable: {VERSION}, or let a tus client do it. To upload at "
            "once and without tus, POST the file to /v1/datasets or /v1/backbones."
        )


def parse_size(headers: Mapping[str, str], limit: int) -> int | None:
    """Parse the size of the whole file, None if it is not known yet. Raises UploadHeaderMalformed, UploadTooLarge."""
    if "upload-length" not in headers:
        if headers.get("upload-defer-length") == "1":
            return None
        raise UploadHeaderMalformed(
            "Send the file's size in bytes as Upload-Length, or Upload-Defer-Length: 1 where it is not known yet."
        )
    return check_size(_parse_number(headers, "upload-length"), limit)


def parse_late_size(headers: Mapping[str, str], limit: int) -> int | None:
    """Parse the size of a file of which it was not known before; None where the request does not tell it.

    Raises UploadHeaderMalformed, UploadTooLarge.
    """
    return check_size(_parse_number(headers, "upload-length"), limit) if "upload-length" in headers else None


def check_size(size: int, limit: int) -> int:
    """Check that a file is not too large; returns its size. Raises UploadTooLarge."""
    if size > limit:
        raise UploadTooLarge(f"The file has more than {limit} bytes, the limit here (GRAFT_MAX_ARCHIVE_BYTES).")
    return size


def parse_offset(headers: Mapping[str, str]) -> int:
    """Parse the offset at which a piece begins. Raises UploadHeaderMalformed."""
    return _parse_number(headers, "upload-offset")


def check_piece(headers: Mapping[str, str]) -> None:
    """Check that a body is a piece of a file as it is. Raises UploadTypeUnsupported."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != PIECE_TYPE:
        raise UploadTypeUnsupported(f"Send a piece of the file with the header Content-Type: {PIECE_TYPE}.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UploadTypeUnsupported("Send pieces as they are, without a Content-Encoding: offsets count plain bytes.")


def parse_checksum(headers: Mapping[str, str]) -> Checksum | None:
    """Parse the checksum of a piece, if it has one. Raises UploadHeaderMalformed."""
    if "upload-checksum" not in headers:
        return None
    algorithm, _, value = headers["upload-checksum"].partition(" ")
    if algorithm not in CHECKSUMS:
        raise UploadHeaderMalformed(f"Upload-Checksum {algorithm[:20]!r} is none of {', '.join(CHECKSUMS)}.")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise UploadHeaderMalformed(f"The Upload-Checksum is no {algorithm} in base64.")
    return Checksum(algorithm, digest)


def parse_metadata(value: str) -> dict[str, str]:
    """Parse Upload-Metadata: names, each with a text in base64. Raises UploadHeaderMalformed."""
    if len(value) > METADATA_BYTES:
        raise UploadHeaderMalformed(f"Upload-Metadata has more than {METADATA_BYTES} bytes.")
    pairs: dict[str, str] = {}
    for text in value.split(",") if value.strip() else ():
        found = _PAIR.fullmatch(text.strip())
        try:
            name, encoded = found.groups() if found else ("", "=")
            pairs[name] = base64.b64decode(encoded or "", validate=True).decode(errors="replace")
        except binascii.Error:
            raise UploadHeaderMalformed(
                f"Upload-Metadata has {text.strip()[:50]!r}; it is a list of names, each with a text in base64."
            ) from None
    return pairs


def describe(upload: Upload) -> dict[str, str]:
    """Describe the state of an upload as headers."""
    headers = {"Upload-Offset": str(upload.offset), "Upload-Expires": formatdate(upload.expires_at, usegmt=True)}
    headers |= {"Upload-Defer-Length": "1"} if upload.bytes is None else {"Upload-Length": str(upload.bytes)}
    return headers | ({"Upload-Metadata": upload.details} if upload.details else {})


def _parse_number(headers: Mapping[str, str], name: str) -> int:
    value = headers.get(name, "")
    if not _NUMBER.fullmatch(value):
        raise UploadHeaderMalformed(f"The header {name.title()} must be a number of bytes, not {value[:20]!r}.")
    return int(value)
