"""A small model hub on loopback: the part of the Hugging Face Hub's interface that loading a backbone uses."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    root: Path

    def do_HEAD(self) -> None:
        """Answer with a file's headers."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _answer(self, *, body: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        repository = self.root / parts[0] / parts[1] if len(parts) > 2 else self.root / "none"
        if not repository.is_dir():
            self._refuse(404, "RepoNotFound")
        elif (repository / "gated").exists():
            self._refuse(403, "GatedRepo")
        elif not (repository / parts[-1]).is_file():
            self._refuse(404, "EntryNotFound")
        else:
            self._give((repository / parts[-1]).read_bytes(), body=body)

    def _refuse(self, status: int, code: str) -> None:
        message = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(message)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(message)

    def _give(self, content: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serve `root`/ORG/REPO/FILE as a hub; a repository with a file `gated` is gated. Gives the hub's address."""

    handler = type("Handler", (_Handler,), {"root": root})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
