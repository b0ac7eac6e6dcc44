"""HTTP/1.1 with limited headers: uvicorn's fast parser has no limit, and would keep gigabytes of them in memory."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES = 64 << 10
TOO_LARGE = f"The address and the headers of the request have more than {MAX_BYTES} bytes. Shorten them."
MALFORMED = (
    "This is no valid HTTP request. In an address, spaces and letters beyond ASCII are written as %-escapes (ü is "
    "%C3%BC); else look at the first line, Content-Length and the other headers."
)


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that ends a connection whose request has too many bytes before its body."""

    _head_bytes = 0
    _is_in_head = True

    def on_message_begin(self) -> None:
        """Count anew."""
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        """Count no further: this is the body."""
        super().on_headers_complete()
        self._is_in_head, self._head_bytes = False, 0

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and refuse headers that have not ended within MAX_BYTES."""
        super().data_received(data)
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_BYTES and not self.transport.is_closing():
            self._refuse(431, "Request Header Fields Too Large", TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        self._refuse(400, "Bad Request", MALFORMED)

    def _refuse(self, status: int, phrase: str, detail: str) -> None:
        code = phrase.lower().replace(" ", "_")
        body = json.dumps(
            {
                "type": f"urn:graft:error:{code}",
                "title": phrase.capitalize(),
                "status": status,
                "detail": detail,
                "instance": "",
                "code": code,
            }
        ).encode()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
