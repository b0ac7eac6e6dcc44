"""HTTP client of Graft's API; calls return the service's JSON objects as dicts."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
import uuid
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from graft import tar_stream
from graft.errors import DownloadDamaged, GraftError, read_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Json = dict[str, Any]
Result = TypeVar("Result")

ADDRESS = "http://127.0.0.1:8000"
TRIES = 5
"""Tries of a repeatable call while the connection fails."""
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""Time for which a service that has answered before may be away or unavailable: it, or its database, may restart."""
SUFFIX = re.compile(r"\.(zip|tgz|tar(\.\w+)?)$", re.IGNORECASE)
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
ENDED = ("succeeded", "failed", "cancelled")


class Client:
    """Connection to one service. Every call raises GraftError where the service refuses it."""

    def __init__(self, url: str | None = None) -> None:
        """Connect to the service at `url`; by default at GRAFT_URL, or on this machine."""
        self.url = url or os.environ.get("GRAFT_URL", ADDRESS)
        self._has_answered = False
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
        headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": str(uuid.uuid4())}
        if path.is_file():
            headers["Content-Length"] = str(path.stat().st_size)
        query = {"name": _name_dataset(path) if name is None else name, "labels": labels}

        def upload() -> httpx.Response:
            content = tar_stream.pack_folder(path) if path.is_dir() else tar_stream.read_blocks(path)
            return _require_available(self._http.post("/v1/datasets", params=query, content=content, headers=headers))

        # What comes from a pipe can be read only once.
        return self._parse(self._retry(upload) if path.is_dir() or path.is_file() else upload())

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

    def backbone(self, backbone: str) -> Json:
        """Get a backbone; its `inspection`, with stages and cuts, is null until a worker has inspected it."""
        return self._get(f"/v1/backbones/{backbone}")

    def inspect_backbone(self, backbone: str) -> Json:
        """Have a worker find a backbone's stages and cuts, and wait; returns it, inspected or failed."""
        found = self._parse(self._request("POST", f"/v1/backbones/{backbone}/inspect"))
        while found["status"] in ("listed", "inspecting"):
            time.sleep(0.2)
            found = self.backbone(backbone)
        return found

    def techniques(self) -> Json:
        """Get the catalog of techniques."""
        return self._get("/v1/techniques")

    def cache(self) -> Json:
        """Get the size of the feature cache, and what it has saved."""
        return self._get("/v1/cache")

    def empty_cache(self) -> Json:
        """Have the workers empty the feature cache; returns it as it is now."""
        return self._parse(self._request("DELETE", "/v1/cache"))

    def check_recipe(self, recipe: Mapping[str, Any], backbone: str) -> Json:
        """Check a recipe and the name of a backbone without starting a job; returns the recipe with its defaults."""
        body = {"recipe": recipe, "backbone": backbone}
        return self._parse(self._request("POST", "/v1/recipes/check", json=body))

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
        return self._parse(self._request("POST", "/v1/jobs", json=body, headers=key))

    def job(self, job: str) -> Json:
        """Get a job: its state, progress and results."""
        return self._get(f"/v1/jobs/{job}")

    def jobs(self, **filters: Any) -> Iterator[Json]:
        """List all jobs, newest first; filters are status, dataset, backbone."""
        return self._iterate_pages("/v1/jobs", filters)

    def cancel(self, job: str) -> Json:
        """Cancel a job."""
        return self._parse(self._request("POST", f"/v1/jobs/{job}/cancel"))

    def pause(self, job: str) -> Json:
        """Pause a job until it is resumed."""
        return self._parse(self._request("POST", f"/v1/jobs/{job}/pause"))

    def stop(self, job: str) -> Json:
        """Stop a running job now and keep its best epoch."""
        return self._parse(self._request("POST", f"/v1/jobs/{job}/stop"))

    def resume(self, job: str) -> Json:
        """Resume a paused job."""
        # If only an answer was lost, the service refuses the repetition of what it has done.
        response = self._request("POST", f"/v1/jobs/{job}/resume")
        if response.status_code == httpx.codes.CONFLICT and (found := self.job(job))["status"] in ("queued", "running"):
            return found
        return self._parse(response)

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
            except (httpx.TransportError, GraftError) as error:
                pause = _choose_pause(error)
                if pause is None or time.monotonic() + pause - heard > PATIENCE_SECONDS:
                    raise
                time.sleep(pause)

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
        self._retry(lambda: self._download(f"/v1/checkpoints/{checkpoint}/content", f'"{digest}"', part))
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
        return self._parse(self._request("GET", address, params=query))

    def _iterate_pages(self, address: str, query: Mapping[str, Any]) -> Iterator[Json]:
        after: Json = {}
        while True:
            page = self._get(address, {**query, **after})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def _request(self, method: str, address: str, **request: Any) -> httpx.Response:
        """Make a repeatable call."""
        return self._retry(lambda: _require_available(self._http.request(method, address, **request)))

    def _retry(self, call: Callable[[], Result]) -> Result:
        """Make a repeatable call, again while the connection fails or the service asks to come later.

        A service that has never answered is given up after TRIES, another after PATIENCE_SECONDS.
        """
        tries, failed_at = 0, math.inf
        while True:
            tries += 1
            try:
                result = call()
            except (httpx.TransportError, GraftError) as error:
                self._has_answered |= isinstance(error, GraftError)
                failed_at = min(failed_at, time.monotonic())
                pause = _choose_pause(error)
                if pause is None or time.monotonic() + pause > failed_at + PATIENCE_SECONDS:
                    raise
                if tries >= TRIES and not self._has_answered:
                    raise
                time.sleep(pause)
            else:
                self._has_answered = True
                return result

    @staticmethod
    def _parse(response: httpx.Response) -> Json:
        if response.is_error:
            raise GraftError.from_response(response)
        try:
            body: Json = response.json()
        except ValueError:
            raise GraftError.from_stranger(response) from None
        return body


def _choose_pause(error: httpx.TransportError | GraftError) -> float | None:
    """Choose the seconds to wait before a call is repeated that failed like this; None if that would not help."""
    if not isinstance(error, GraftError):
        return PAUSE_SECONDS
    return None if error.retry_after is None else max(error.retry_after, PAUSE_SECONDS)


def _require_available(response: httpx.Response) -> httpx.Response:
    """Raise the error of a service that asks to be called again later."""
    if read_retry_after(response) is not None:
        raise GraftError.from_response(response)
    return response


def _name_dataset(path: Path) -> str:
    """Name a dataset after its folder, or its archive without the suffix, in one line of text."""
    name = path.resolve().name if path.is_dir() else SUFFIX.sub("", path.name)
    text = os.fsencode(name).decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)[:255]
