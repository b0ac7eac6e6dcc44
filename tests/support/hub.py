"""A small model hub on loopback: the part of the Hugging Face Hub's interface that loading a backbone uses."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 10_000
"""Files of at least this many bytes are named by their SHA-256, smaller ones by Git's SHA-1, as the Hub does."""


@dataclass
class Hub:
    """The hub's address, what it was asked for, and what is wrong with it."""

    url: str
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and range of each request."""
    damaged: set[str] = field(default_factory=set)
    """Names of files of which it gives other bytes than it states the digest of."""
    held_after: int | None = None
    """Bytes of a file after which it gives no more, until `release`."""
    release: threading.Event = field(default_factory=threading.Event)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT})
    """Branches, tags and commits, and the commit of each."""

    def count_gets(self, filename: str) -> int:
        """Count the requests for a file's content."""
        return sum(method == "GET" and path.endswith(f"/{filename}") for method, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    root: ClassVar[Path]
    hub: ClassVar[Hub]

    def do_HEAD(self) -> None:
        """Answer with a file's headers."""
        self._answer()

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        parts = self.path.split("?")[0].strip("/").split("/")
        repository = self.root / parts[0] / parts[1] if len(parts) > 2 else self.root / "none"
        commit = self.hub.revisions.get("/".join(parts[3:-1]).replace("%2F", "/"))
        file = repository / f"@{commit}" / parts[-1]
        file = file if file.is_file() else repository / parts[-1]
        if not repository.is_dir():
            self._refuse(404, "RepoNotFound")
        elif (repository / "gated").exists():
            self._refuse(403, "GatedRepo")
        elif commit is None:
            self._refuse(404, "RevisionNotFound")
        elif not file.is_file():
            self._refuse(404, "EntryNotFound")
        else:
            self._give(file.read_bytes(), file.name, commit)

    def _refuse(self, status: int, code: str) -> None:
        message = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(message)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(message)

    def _give(self, content: bytes, name: str, commit: str) -> None:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        etag = hashlib.sha256(content).hexdigest() if len(content) >= LARGE else git
        if name in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        wanted = self.headers.get("Range")
        begin = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if begin else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._send(content, begin)

    def _send(self, content: bytes, begin: int) -> None:
        held = self.hub.held_after
        if held is None or begin or len(content) < LARGE:
            self.wfile.write(content[begin:])
            return
        self.wfile.write(content[:held])
        self.wfile.flush()
        self.hub.release.wait(60)


@contextmanager
def run_hub(root: Path) -> Iterator[Hub]:
    """Serve `root`/ORG/REPO/FILE as a hub, ORG/REPO/@COMMIT/FILE at that commit; one with a file `gated` is gated."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"root": root, "hub": hub})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
