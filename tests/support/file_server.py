"""A server of files on loopback, which counts its requests and may break off."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class FileServer:
    """The files that are served, by name, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str | None] = field(default_factory=list)
    """The Range of each request."""
    breaks_off_at: int | None = None
    """Bytes after which the next answer breaks off."""
    url: str = ""


@contextmanager
def serve_files() -> Iterator[FileServer]:
    """Serve files on loopback."""
    served = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with a file, or with its part from `Range` on."""
            wanted = self.headers["Range"]
            served.requests.append(wanted)
            content = served.files.get(self.path.strip("/"))
            if content is None:
                self.send_error(404)
                return
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            end, served.breaks_off_at = served.breaks_off_at, None
            self.wfile.write(content[begin:end])

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
