"""A small real HTTP server that misbehaves as a test tells it to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by a table that each test fills: (method, path) → what to do."""

    url: str
    answers: dict[tuple[str, str], Answer]
    asked: list[tuple[str, str, dict[str, str]]]

    def do_GET(self) -> None:
        """Handle a request."""
        path = self.path.split("?")[0]
        self.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.answers[self.command, path](self)

    do_POST = do_HEAD = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def read_body(self) -> bytes:
        """Read the body of the request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def give(self, body: bytes, status: int = 200, cut: int | None = None, **headers: str) -> None:
        """Send an answer; with `cut`, break the connection after this many bytes."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        self.close_connection = True

    def give_json(self, body: object, status: int = 200) -> None:
        """Send JSON."""
        kind = "application/json" if status < 400 else "application/problem+json"
        self.give(json.dumps(body).encode(), status, Content_Type=kind)


@contextmanager
def listen() -> Iterator[type[Handler]]:
    """Run a server; its `answers` are to be filled, and `url` is where it is."""
    handler: type[Handler] = type("TheHandler", (Handler,), {"answers": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        handler.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        yield handler
        listener.shutdown()
        thread.join()


FILE = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(FILE).hexdigest()
"""A checkpoint's file."""


def give_file(cuts: list[int], body: bytes = FILE) -> Answer:
    """A checkpoint's file that honours ranges and breaks off as told, once each."""

    def answer(handler: Handler) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        assert not start or handler.headers["If-Range"] == f'"{DIGEST}"'
        handler.give(body[start:], 206 if start else 200, cuts.pop(0) if cuts else None)

    return answer
