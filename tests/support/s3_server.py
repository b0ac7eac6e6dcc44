"""A server on loopback that speaks S3 as far as clients of the storage do; its objects lie in memory."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass
class S3Server:
    """The objects of all buckets, and how clients find the server."""

    environment: dict[str, str]
    """Variables by which s3fs finds it."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """By bucket/key."""
    modified: dict[str, datetime] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Parts of uploads that are neither completed nor aborted."""

    def put(self, name: str, content: bytes) -> None:
        """Put an object."""
        self.objects[name], self.modified[name] = content, datetime.now(UTC)


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Serve S3 on loopback."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = S3Server(
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    )
    listener.served = served  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request: its object, what is asked of it, and its body."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    @property
    def _served(self) -> S3Server:
        served: S3Server = self.server.served  # type: ignore[attr-defined]
        return served

    def _parse(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return unquote(parts.path).strip("/"), dict(parse_qsl(parts.query, keep_blank_values=True))

    def do_HEAD(self) -> None:
        """HeadBucket, HeadObject."""
        name, _ = self._parse()
        if "/" in name and name not in self._served.objects:
            self._answer(404)
            return
        self._give(name) if "/" in name else self._answer(200)

    def do_GET(self) -> None:
        """ListObjectsV2, GetObject."""
        name, query = self._parse()
        if "/" not in name:
            self._list(name, query)
        elif name in self._served.objects:
            self._give(name)
        else:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")

    def do_PUT(self) -> None:
        """PutObject, UploadPart."""
        name, query = self._parse()
        content = self._read()
        if "uploadId" in query:
            self._served.uploads[query["uploadId"]][int(query["partNumber"])] = content
        else:
            self._served.put(name, content)
        self._answer(200, headers={"ETag": _tag(content)})

    def do_POST(self) -> None:
        """CreateMultipartUpload, CompleteMultipartUpload, DeleteObjects."""
        name, query = self._parse()
        body = self._read()
        if "uploads" in query:
            upload = f"upload-{len(self._served.uploads)}-{len(self._served.objects)}"
            self._served.uploads[upload] = {}
            self._answer(
                200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        elif "uploadId" in query:
            parts = self._served.uploads.pop(query["uploadId"])
            self._served.put(name, b"".join(parts[number] for number in sorted(parts)))
            self._answer(
                200, f"<CompleteMultipartUploadResult><Key>{escape(name)}</Key></CompleteMultipartUploadResult>"
            )
        else:
            keys = [str(key.text) for key in ElementTree.fromstring(body).iter() if key.tag.endswith("Key")]
            for key in keys:
                self._served.objects.pop(f"{name}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>")

    def do_DELETE(self) -> None:
        """DeleteObject, AbortMultipartUpload."""
        name, query = self._parse()
        if "uploadId" in query:
            self._served.uploads.pop(query["uploadId"], None)
        else:
            self._served.objects.pop(name, None)
        self._answer(204)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        contents, folders = "", set()
        for name, content in sorted(self._served.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if key == name or not key.startswith(prefix):
                continue
            folder, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                folders.add(f"{prefix}{folder}{delimiter}")
                continue
            contents += (
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>{_tag(content)}</ETag>"
                f"<LastModified>{self._served.modified[name]:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified></Contents>"
            )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders)
        )
        self._answer(
            200,
            f'<ListBucketResult xmlns="{NAMESPACE}"><Name>{bucket}</Name><IsTruncated>false</IsTruncated>'
            f"{contents}{common}</ListBucketResult>",
        )

    def _give(self, name: str) -> None:
        content = self._served.objects[name]
        headers = {
            "ETag": _tag(content),
            "Last-Modified": f"{self._served.modified[name]:%a, %d %b %Y %H:%M:%S GMT}",
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers["Range"]
        if wanted is None:
            self._answer(200, content, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(len(content), int(last) + 1) if first and last else len(content)
        if start >= len(content):
            self._answer(416, "<Error><Code>InvalidRange</Code></Error>")
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._answer(206, content[start:end], headers)

    def _read(self) -> bytes:
        """Read the body; aws-chunked is one in chunks, with their sum behind them."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        content, rest = b"", body
        while True:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if not length:
                return content
            content, rest = content + rest[:length], rest[length + 2 :]

    def _answer(self, status: int, body: bytes | str = b"", headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
