"""Content-Encoding of request bodies: gzip and deflate, decoded as they come and within a limit."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

ZLIB = {"gzip", "x-gzip", "deflate"}
BLOCK = 1 << 20
"""Most bytes that are decoded at once."""


class Inflater:
    """Decoder of gzip and zlib, which are told apart by their first bytes."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode in blocks of at most BLOCK bytes. Raises HTTPException."""
        try:
            while data:
                if self._stream.eof:  # gzip may have several members, one after another
                    self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
                yield self._stream.decompress(data, BLOCK)
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error:
            raise HTTPException(
                400, "The header Content-Encoding says that the body is compressed, and it is not, or it is damaged."
            ) from None

    def finish(self) -> None:
        """Check that nothing is missing. Raises HTTPException."""
        if not self._stream.eof:
            raise HTTPException(400, "The compressed body ends too early. Send it again.")


def _choose(headers: Mapping[str, str]) -> Inflater | None:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ZLIB:
        return Inflater()
    raise HTTPException(415, f"Content-Encoding {encoding[:50]} is not read here. Send the body as it is, or gzip.")


def decode_all(headers: Mapping[str, str], body: bytes, limit: int) -> bytes:
    """Decode a whole body of at most `limit` bytes. Raises HTTPException."""
    inflater = _choose(headers)
    if inflater is None:
        return body
    decoded = bytearray()
    for block in inflater.feed(body):
        decoded += block
        if len(decoded) > limit:
            raise HTTPException(413, f"The body has more than {limit} bytes when it is decompressed.")
    inflater.finish()
    return bytes(decoded)


async def decode(headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decode a body as it comes. Raises HTTPException."""
    inflater = _choose(headers)
    async for chunk in chunks:
        if inflater is None:
            yield chunk
            continue
        for block in inflater.feed(chunk):
            yield block
    if inflater is not None:
        inflater.finish()
