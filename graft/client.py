"""HTTP client of Graft's API; calls return the service's JSON objects as dicts."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import httpx

from graft import tar_stream
from graft.errors import DownloadDamaged, GraftError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Json = dict[str, Any]

ADDRESS = "http://127.0.0.1:8000"
TRIES = 5
"""Tries of a repeatable call while the connection fails."""
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""Time for which `events` waits for a service that does not answer: it may be restarting."""
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
ENDED = ("succeeded", "failed", "cancelled")


class Client:
    """Connection to one service. Every call raises GraftError where the service refuses it."""

    def __init__(self, url: str | None = None) -> None:
        """Connect to the service at `url`; by default at GRAFT_URL, or on this machine."""
        self.url = url or os.environ.get("GRAFT_URL", ADDRESS)
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(60.0, connect=10.0),
            mounts=dict.fromkeys(LOOPBACK),  # directly, even if the environment names a proxy
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create_dataset(self, path: Path, name: str | None = None, labels: str = "auto") -> Json:
        """Upload a folder or an archive of images; returns the dataset, which is then validated.

        labels: "none" if the images are unlabelled.
        """
        content = tar_stream.pack_folder(path) if path.is_dir() else tar_stream.read_blocks(path)
        headers = {"Content-Type": "application/octet-stream"}
        if path.is_file():
            headers["Content-Length"] = str(path.stat().st_size)
        query = {"name": path.stem if name is None else name, "labels": labels}
        return self._parse(self._http.post("/v1/datasets", params=query, content=content, headers=headers))

    def dataset(self, dataset: str) -> Json:
        """Get a dataset."""
        return self._get(f"/v1/datasets/{dataset}")

    def datasets(self, **filters: Any) -> Iterator[Json]:
        """List all datasets, newest first."""
        return self._iterate_pages("/v1/datasets", filters)

    def skipped(self, dataset: str) -> Iterator[Json]:
        """List all files of a dataset that are not used, and why."""
        return self._iterate_pages(f"/v1/datasets/{dataset}/skipped", {"limit": 1000})

    def wait_for_dataset(self, dataset: str) -> Json:
        """Wait until a dataset is validated; returns it, ready or failed."""
        while (found := self.dataset(dataset))["status"] == "validating":
            time.sleep(0.2)
        return found

    def backbones(self, **filters: Any) -> Iterator[Json]:
        """List backbones by name; filters are q, source and max_params."""
        return self._iterate_pages("/v1/backbones", filters)

    def techniques(self) -> Json:
        """Get the catalog of techniques."""
        return self._get("/v1/techniques")

    def cache(self) -> Json:
        """Get the size of the feature cache, and what it has saved."""
        return self._get("/v1/cache")

    def empty_cache(self) -> Json:
        """Have the workers empty the feature cache; returns it as it is now."""
        return self._parse(self._request_with_retries("DELETE", "/v1/cache"))

    def create_job(
        self,
        dataset: str,
        backbone: str,
        recipe: Mapping[str, Any] | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Json:
        """Start a fine-tuning; repeating the call over a broken connection creates no second job."""
        body: Json = {"dataset": dataset, "backbone": backbone, "recipe": recipe or {}, "name": name}
        body |= {"metadata": dict(metadata or {}), "priority": priority}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return self._parse(self._request_with_retries("POST", "/v1/jobs", json=body, headers=key))

    def job(self, job: str) -> Json:
        """Get a job: its state, progress and results."""
        return self._get(f"/v1/jobs/{job}")

    def jobs(self, **filters: Any) -> Iterator[Json]:
        """List all jobs, newest first; filters are status, dataset, backbone."""
        return self._iterate_pages("/v1/jobs", filters)

    def cancel(self, job: str) -> Json:
        """Cancel a job."""
        return self._parse(self._request_with_retries("POST", f"/v1/jobs/{job}/cancel"))

    def pause(self, job: str) -> Json:
        """Pause a job until it is resumed."""
        return self._parse(self._request_with_retries("POST", f"/v1/jobs/{job}/pause"))

    def stop(self, job: str) -> Json:
        """Stop a running job now and keep its best epoch."""
        return self._parse(self._request_with_retries("POST", f"/v1/jobs/{job}/stop"))

    def resume(self, job: str) -> Json:
        """Resume a paused job."""
        # Sent once: if only the answer was lost, the service would refuse a repetition.
        return self._parse(self._http.post(f"/v1/jobs/{job}/resume"))

    def events(self, job: str) -> Iterator[Json]:
        """Stream all events of a job, live until it ends; resumes after a broken connection.

        Raises httpx.TransportError when the service stays away for longer than PATIENCE_SECONDS.
        """
        last: str | None = None
        heard = time.monotonic()
        while True:
            try:
                for event in self._stream_events(job, last):
                    last, heard = event["id"], time.monotonic()
                    yield event
                if self.job(job)["status"] in ENDED:
                    return
                heard = time.monotonic()
            except httpx.TransportError:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
                time.sleep(PAUSE_SECONDS)

    def wait(self, job: str) -> Json:
        """Wait until a job has ended; returns it."""
        for _ in self.events(job):
            pass
        return self.job(job)

    def metrics(self, job: str) -> list[Json]:
        """List the metrics of each epoch."""
        return list(self._iterate_pages(f"/v1/jobs/{job}/metrics", {}))

    def trials(self, job: str) -> list[Json]:
        """List the heads that a search has tried, the best first."""
        return list(self._iterate_pages(f"/v1/jobs/{job}/trials", {}))

    def checkpoints(self, job: str) -> list[Json]:
        """List the checkpoints of a job, the best first."""
        return list(self._iterate_pages(f"/v1/jobs/{job}/checkpoints", {}))

    def checkpoint(self, checkpoint: str) -> Json:
        """Get a checkpoint."""
        return self._get(f"/v1/checkpoints/{checkpoint}")

    def download(self, checkpoint: str, path: Path) -> Path:
        """Download a checkpoint's file, checked against its digest; resumes after a broken connection.

        Raises DownloadDamaged.
        """
        digest = self.checkpoint(checkpoint)["digest"].removeprefix("sha256:")
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        for attempt in range(1, TRIES + 1):
            try:
                self._download(f"/v1/checkpoints/{checkpoint}/content", f'"{digest}"', part)
                break
            except httpx.TransportError:
                if attempt == TRIES:
                    raise
                time.sleep(PAUSE_SECONDS)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            part.unlink()
            raise DownloadDamaged(f"{checkpoint} arrived with the digest {found} instead of {digest}; try again.")
        return part.replace(path)

    def _download(self, address: str, etag: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
        with self._http.stream("GET", address, headers=headers) as response:
            if response.is_error:
                response.read()
                raise GraftError.from_response(response)
            with part.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                for block in response.iter_bytes():
                    file.write(block)

    def _stream_events(self, job: str, last: str | None) -> Iterator[Json]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with self._http.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
            if response.is_error:
                response.read()
                raise GraftError.from_response(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def _get(self, address: str, query: Mapping[str, Any] | None = None) -> Json:
        return self._parse(self._request_with_retries("GET", address, params=query))

    def _iterate_pages(self, address: str, query: Mapping[str, Any]) -> Iterator[Json]:
        after: Json = {}
        while True:
            page = self._get(address, {**query, **after})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def _request_with_retries(self, method: str, address: str, **request: Any) -> httpx.Response:
        """Make a repeatable call, again while the connection fails."""
        for _ in range(TRIES - 1):
            try:
                return self._http.request(method, address, **request)
            except httpx.TransportError:
                time.sleep(PAUSE_SECONDS)
        return self._http.request(method, address, **request)

    @staticmethod
    def _parse(response: httpx.Response) -> Json:
        if response.is_error:
            raise GraftError.from_response(response)
        body: Json = response.json()
        return body
