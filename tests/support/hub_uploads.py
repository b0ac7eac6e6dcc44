"""A small model hub on loopback that takes uploads: the part of the Hub's interface that its library uses for them.

Large files are sent by the LFS protocol and are part of no repository until a commit names them; what is committed can
be downloaded as from `tests.support.hub`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.support.hub import LARGE, Hub, _Handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hf_secret_of_the_request"
BLOCK = 1 << 16


class UploadHub(Hub):
    """The hub, and what is wrong with it."""

    commits: list[dict[str, Any]]
    """Header of each commit, with repository, revision and names of files."""
    bodies: list[bytes]
    """Bodies of all requests but the uploads of large files."""
    created: list[dict[str, Any]]
    failing: dict[str, int]
    """Statuses by a part of the path of requests that fail."""


class _UploadHandler(_Handler):
    hub: UploadHub  # type: ignore[misc]

    def do_POST(self) -> None:
        """Take a call."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append(("POST", self.path, None))
        self.hub.bodies.append(body)
        if self._fails():
            return
        self._route(self.path.split("?")[0].strip("/").split("/"), body)

    def _route(self, parts: list[str], body: bytes) -> None:
        match parts:
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                self._reply(200, {"warnings": [], "errors": []})
            case [*_, "preupload", _]:
                self._preupload(json.loads(body))
            case [*_, "branch", _]:
                self._reply(200, {})
            case [_, _, org, name, "commit", revision]:
                self._commit(f"{org}/{name}", revision, body)
            case [*_, "lfs", "objects", "batch"]:
                self._offer(json.loads(body))
            case ["verify"]:
                self._verify(json.loads(body))

    def do_PUT(self) -> None:
        """Take a large file."""
        self.hub.requests.append(("PUT", self.path, None))
        name, left = self.path.rpartition("/")[2], int(self.headers["Content-Length"])
        self._uploads.mkdir(exist_ok=True)
        digest = hashlib.sha256()
        with (self._uploads / "part").open("wb") as file:
            while left:
                block = self.rfile.read(min(BLOCK, left))
                digest.update(block)
                file.write(block)
                left -= len(block)
        if self._fails(is_open=True):
            return
        assert digest.hexdigest() == name, "the bytes are those that were announced"
        assert "Authorization" not in self.headers, "the storage gets no token"
        (self._uploads / "part").rename(self._uploads / name)
        self._reply(200, {})

    @property
    def _uploads(self) -> Path:
        return self.root / "uploads"

    def _fails(self, *, is_open: bool = False) -> bool:
        for part, status in self.hub.failing.items():
            if part in f"{self.command} {self.path}":
                self._reply(status, {"error": f"no: {self.headers.get('Authorization', '')}"})
                return True
        if not is_open and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._reply(401, {"error": "Invalid username or password."})
            return True
        return False

    def _create(self, order: dict[str, Any]) -> None:
        repo = f"{order['organization']}/{order['name']}"
        is_new = not (self.root / repo).exists()
        (self.root / repo).mkdir(parents=True, exist_ok=True)
        if is_new:
            self.hub.created.append(order)
        self._reply(200 if is_new else 409, {"url": f"{self.hub.url}/{repo}"})

    def _verify(self, found: dict[str, Any]) -> None:
        file = self._uploads / found["oid"]
        self._reply(200 if file.is_file() and file.stat().st_size == found["size"] else 404, {})

    def _preupload(self, order: dict[str, Any]) -> None:
        modes = {file["path"]: "lfs" if file["size"] >= LARGE else "regular" for file in order["files"]}
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        self._reply(200, {"files": files})

    def _offer(self, order: dict[str, Any]) -> None:
        objects = []
        for wanted in order["objects"]:
            upload, verify = f"{self.hub.url}/lfs/{wanted['oid']}", f"{self.hub.url}/verify"
            actions = {"upload": {"href": upload}, "verify": {"href": verify}}
            is_there = (self._uploads / wanted["oid"]).exists()
            objects.append({**wanted} if is_there else {**wanted, "actions": actions})
        self._reply(200, {"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, revision: str, body: bytes) -> None:
        header, *files = (json.loads(line) for line in body.splitlines())
        for file in files:
            value = file["value"]
            path = self.root / repo / value["path"]
            if file["key"] == "lfsFile":
                shutil.copyfile(self._uploads / value["oid"], path)
            else:
                path.write_bytes(base64.b64decode(value["content"]))
        names = sorted(file["value"]["path"] for file in files)
        self.hub.commits.append({**header["value"], "repo": repo, "revision": revision, "files": names})
        commit = f"{len(self.hub.commits):040x}"
        self._reply(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit})

    def _reply(self, status: int, answer: dict[str, Any]) -> None:
        message = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(message)))
        self.end_headers()
        self.wfile.write(message)


@contextmanager
def run_upload_hub(root: Path) -> Iterator[UploadHub]:
    """Serve a hub whose repositories are folders of `root`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _UploadHandler)
    hub = UploadHub(f"http://127.0.0.1:{server.server_address[1]}")
    hub.commits, hub.bodies, hub.created, hub.failing = [], [], [], {}
    server.RequestHandlerClass = type("Handler", (_UploadHandler,), {"root": root, "hub": hub})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
