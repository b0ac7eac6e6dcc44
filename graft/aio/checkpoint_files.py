"""Files of checkpoints: downloads that resume and are checked, and exports to other formats."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from graft.aio.connection import AsyncConnection, parse, require_success
from graft.aio.runtime import run, sleep
from graft.errors import DownloadDamaged, GraftError
from graft.results.checkpoints import Checkpoint, Export, Lineage, Pushed, RetentionResult

if TYPE_CHECKING:
    from collections.abc import Callable

NO_TIMEOUT = httpx.Timeout(None, connect=10.0)
"""For calls that are answered when all is sent elsewhere."""


class AsyncCheckpointFiles(AsyncConnection):
    """Calls about checkpoints and their files."""

    async def checkpoint(self, checkpoint: str) -> Checkpoint:
        """Get a checkpoint."""
        return Checkpoint(await self._get(f"/v1/checkpoints/{checkpoint}"))

    async def lineage(self, checkpoint: str) -> Lineage:
        """Get where a checkpoint comes from, its names, and the jobs that go on from it."""
        return Lineage(await self._get(f"/v1/checkpoints/{checkpoint}/lineage"))

    async def download(
        self, checkpoint: str, path: str | Path, received: Callable[[int], None] = lambda size: None
    ) -> Path:
        """Download a checkpoint's file, checked against its digest; resumes after a broken connection.

        What an earlier process has downloaded is not asked for again. Python source of its network, where it has some,
        is put beside it, with the ending .py. received: called with the size of each block. Raises DownloadDamaged.
        """
        path = Path(path)
        found = await self.checkpoint(checkpoint)
        address = f"/v1/checkpoints/{checkpoint}/content"
        await self._download_file(address, found["digest"], path, received)
        for artifact in found.get("artifacts", []):
            if artifact["format"] == "python":
                await self._download_file(f"{address}?format=python", artifact["digest"], path.with_suffix(".py"))
        return path

    async def export(self, checkpoint: str, path: str | Path, format: str, **options: Any) -> Path:
        """Download a checkpoint in another format, made by a worker where it is asked for the first time.

        Formats are safetensors, head, python, onnx, pt2, bundle and hub; options are those of onnx: preprocessing,
        resize, softmax and precision. Raises GraftError where it cannot be exported so, DownloadDamaged.
        """
        query = httpx.QueryParams({"format": format, **options})
        address = f"/v1/checkpoints/{checkpoint}/content?{query}"
        while (answer := await self._request("HEAD", address)).status_code == httpx.codes.ACCEPTED:
            await sleep(float(answer.headers.get("retry-after", 1)))
        if answer.is_error:
            raise GraftError.from_response(await self._request("GET", address))
        await self._download_file(address, answer.headers["etag"].strip('"'), Path(path))
        return Path(path)

    async def push(self, checkpoint: str, to: str, token: str | None = None, **options: Any) -> Pushed:
        """Push a checkpoint to the Hugging Face Hub (`to="hub"`) or to an MLflow registry (`to="mlflow"`).

        Options are those of POST /v1/checkpoints/{id}/push: repo, private, revision, message; uri, model, username,
        experiment; format. The service streams the files within the call, and keeps no token. Raises GraftError.
        """
        body = {"to": to, **({} if token is None else {"token": token}), **options}
        while True:
            # Not repeated where the connection fails: it might make a second version.
            response = await self._http.post(f"/v1/checkpoints/{checkpoint}/push", json=body, timeout=NO_TIMEOUT)
            if response.status_code != httpx.codes.ACCEPTED:
                return Pushed(parse(response))
            await sleep(float(response.headers.get("retry-after", 1)))

    async def retention(self, *, dry_run: bool = True, **rules: Any) -> RetentionResult:
        """Delete checkpoints but those that a rule keeps or something uses; with `dry_run`, say which.

        Rules are keep_newest and keep_best, of each dataset, and keep_days; dataset and job say of which.
        """
        body = {"dry_run": dry_run, **rules}
        return RetentionResult(await self._call("POST", "/v1/checkpoints/retention", json=body))

    async def exports(self, checkpoint: str) -> list[Export]:
        """List the exports of a checkpoint, with what was measured of each."""
        return [one async for one in self._iterate_pages(Export, f"/v1/checkpoints/{checkpoint}/exports", {})]

    async def _download_file(
        self, address: str, given_digest: str, path: Path, received: Callable[[int], None] = lambda size: None
    ) -> None:
        """Download a file of this digest; an unfinished one beside it is continued, also by another process."""
        digest = given_digest.removeprefix("sha256:")
        part = path.with_name(f"{path.name}.{digest[:12]}.part")
        if part.exists():
            received(part.stat().st_size)
        await self._retry(partial(self._download, address, f'"{digest}"', part, received))
        found = await run(partial(_compute_digest, part))
        if found != digest:
            part.unlink()
            raise DownloadDamaged(f"{address} arrived with the digest {found} instead of {digest}; try again.")
        part.replace(path)

    async def _download(self, address: str, etag: str, part: Path, received: Callable[[int], None]) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
        async with self._http.stream("GET", address, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it is there
            if response.is_error:
                await response.aread()
            require_success(response)
            with part.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                async for block in response.aiter_bytes():
                    file.write(block)
                    received(len(block))


def _compute_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
