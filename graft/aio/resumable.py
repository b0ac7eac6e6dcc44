"""Resumable uploads (tus): a file, a folder or a pipe is sent in pieces, each again until the service has kept it."""

from __future__ import annotations

import base64
import hashlib
import uuid
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from graft.aio.connection import AsyncConnection, Json, parse, require_available, require_success
from graft.aio.runtime import run, stream
from graft.errors import GraftError
from graft.results.uploads import Upload
from graft.unfinished_uploads import Note, open_note
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LARGE = 64 << 20
"""Bytes from which an upload is sent in pieces where the caller does not say."""
PIECE_BYTES = 16 << 20
TUS = {"Tus-Resumable": "1.0.0"}
BUSY = (httpx.codes.CONFLICT, httpx.codes.LOCKED, 460)
"""Answers after which a piece is sent again: the service does not know yet that the connection broke, or bytes changed
on the way."""
BUSY_SECONDS = 1.0


class AsyncUploads(AsyncConnection):
    """Calls about resumable uploads."""

    async def upload(self, path: str | Path | UploadSource, sent: Callable[[int], None] = lambda size: None) -> str:
        """Upload a file, or a folder as a .tar, in pieces; returns the id of the upload, to make something of it once.

        After a broken connection, or a restart of the service, only the last piece is sent again. Where the process
        ends or the service stays away, the next call for the same unchanged files goes on there, in another process
        too. sent: called with the number of bytes that the service has kept further. What cannot be read to its end,
        or not again, as a pipe, is deleted on the service.
        """
        source = await run(partial(list_source, path))
        with await run(partial(open_note, self.url, source)) as note:
            return await self._upload(source, sent, note)

    async def get_upload(self, upload: str) -> Upload:
        """Get the state of a resumable upload."""
        return Upload(await self._get(f"/v1/uploads/{upload}"))

    async def _upload(self, source: UploadSource, sent: Callable[[int], None], note: Note) -> str:
        """Upload in pieces, from where the upload of the note is; returns the upload's id."""
        address, start = await self._find_unfinished(note)
        if not address:
            address = await self._begin_upload(source.path)
            note.write(address)
        try:
            if start:
                sent(start)
            await self._send_pieces(address, source, start, sent)
        except BaseException as error:
            is_hopeless = isinstance(error, OSError) or (isinstance(error, GraftError) and not error.retry_after)
            if is_hopeless or not note.address:
                note.forget()
                with suppress(httpx.HTTPError):  # else it expires
                    await self._http.delete(address, headers=TUS)
            raise
        return address.rpartition("/")[2]

    async def _begin_upload(self, path: Path) -> str:
        """Create an upload; returns its address."""
        name = base64.b64encode(path.name.encode(errors="replace")).decode()
        headers = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": f"filename {name}"}
        created = require_success(await self._request("POST", "/v1/uploads", headers=headers))
        return httpx.URL(created.headers["location"]).path

    async def _find_unfinished(self, note: Note) -> tuple[str, int]:
        """Find the upload of a note, and how much of it the service has; nothing where the service has lost it."""
        if not note.address:
            return "", 0
        response = await self._request("GET", note.address)
        if response.status_code == httpx.codes.NOT_FOUND:
            return "", 0
        upload = Upload(parse(response))
        return ("", 0) if upload.used_by else (note.address, upload.offset)

    async def _send_pieces(self, address: str, source: UploadSource, start: int, sent: Callable[[int], None]) -> None:
        offset = start
        async for piece in stream(_split(source.read_blocks(), start)):
            await self._send(address, offset, piece)
            offset += len(piece)
            sent(len(piece))
        await self._send(address, offset, b"", {"Upload-Length": str(offset)})

    async def _send(self, address: str, start: int, piece: bytes, more: dict[str, str] | None = None) -> None:
        """Send the piece that begins at `start` until the service has it."""
        tries = 0

        async def send() -> None:
            nonlocal tries
            tries += 1
            kept = 0 if tries == 1 else await self._find_offset(address) - start
            if not 0 <= kept <= len(piece):
                message = f"The service has {start + kept} bytes of {address}, which this client has not sent."
                raise GraftError(httpx.codes.CONFLICT, "upload_offset_mismatch", message)
            if kept < len(piece) or more:
                await self._send_rest(address, start + kept, piece[kept:], more or {})

        await self._retry(send)

    async def _find_offset(self, address: str) -> int:
        response = require_available(await self._http.head(address, headers=TUS))
        if response.is_error:
            raise GraftError(response.status_code, "upload_not_found", f"The service has no upload {address} any more.")
        return int(response.headers["upload-offset"])

    async def _send_rest(self, address: str, offset: int, rest: bytes, more: dict[str, str]) -> None:
        digest = base64.b64encode((await run(partial(hashlib.sha256, rest))).digest()).decode()
        headers = {
            **TUS,
            **more,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {digest}",
        }
        response = require_available(await self._http.patch(address, content=rest, headers=headers))
        if response.is_error:
            error = GraftError.from_response(response)
            error.retry_after = BUSY_SECONDS if error.status in BUSY else error.retry_after
            raise error

    async def _use_upload(
        self, address: str, source: UploadSource, fields: Mapping[str, Any], sent: Callable[[int], None]
    ) -> Json:
        """Upload in pieces, and make a dataset or a backbone of it, once though an answer may be lost."""
        with await run(partial(open_note, self.url, source)) as note:
            upload = await self._upload(source, sent, note)
            body = {**{name: value for name, value in fields.items() if value}, "source": {"upload": upload}}
            made = await self._call("POST", address, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
            note.forget()
        return made


def choose(source: UploadSource, in_pieces: bool | None) -> bool:
    """Tell whether an upload is sent in pieces: as the caller says, or if it is large."""
    return source.size >= LARGE if in_pieces is None else in_pieces


def _split(blocks: Iterator[bytes], start: int) -> Iterator[bytes]:
    """Gather blocks from the byte `start` on to pieces of at least PIECE_BYTES, but for the last."""
    piece, skip = bytearray(), start
    for block in blocks:
        piece += block[skip:]
        skip = max(0, skip - len(block))
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
