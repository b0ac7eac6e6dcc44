"""Datasets: uploads of labelled images, and the images and files in them."""

# Written by tools/synchronous_client.py from graft/aio/datasets.py: change that, and `make docs`.
from __future__ import annotations

import os
import re
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from graft import resumable, tar_stream
from graft.connection import parse, require_available, require_success
from graft.results.datasets import Dataset, DatasetSummary, Image, SkippedFileItem
from graft.resumable import Uploads
from graft.runtime import run, sleep, stream
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

SUFFIX = re.compile(r"\.(zip|tgz|tar(\.\w+)?)$", re.IGNORECASE)


class Datasets(Uploads):
    """Calls about datasets."""

    def create_dataset(
        self,
        path: str | Path | UploadSource,
        name: str | None = None,
        labels: str = "auto",
        *,
        in_pieces: bool | None = None,
        sent: Callable[[int], None] = lambda size: None,
    ) -> Dataset:
        """Upload a folder or an archive of images; returns the dataset, which is then validated.

        labels: "none" if the images are unlabelled. in_pieces: whether only the last piece is sent again where the
        connection breaks, and the upload goes on after the process was ended; None: from 64 MiB on. sent: called with
        the size of what was sent further.
        """
        source = run(partial(list_source, path))
        query = {"name": choose_name(source) if name is None else name, "labels": labels}
        if resumable.choose(source, in_pieces):
            return Dataset(self._use_upload("/v1/datasets", source, query, sent))
        headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": str(uuid.uuid4())}
        if source.can_repeat and not source.is_folder:
            headers["Content-Length"] = str(source.size)

        def upload() -> httpx.Response:
            content = stream(tar_stream.count(source.read_blocks(), sent))
            return require_available(self._http.post("/v1/datasets", params=query, content=content, headers=headers))

        return Dataset(parse(self._retry(upload) if source.can_repeat else upload()))

    def dataset(self, dataset: str) -> Dataset:
        """Get a dataset."""
        return Dataset(self._get(f"/v1/datasets/{dataset}"))

    def datasets(self, **filters: Any) -> Iterator[DatasetSummary]:
        """List all datasets, newest first."""
        return self._iterate_pages(DatasetSummary, "/v1/datasets", filters)

    def wait_for_dataset(self, dataset: str) -> Dataset:
        """Wait until a dataset is validated; returns it, ready or failed."""
        while (found := self.dataset(dataset))["status"] == "validating":
            sleep(0.2)
        return found

    def delete_dataset(self, dataset: str) -> None:
        """Delete a dataset that no job uses."""
        self._delete(f"/v1/datasets/{dataset}")

    def skipped(self, dataset: str) -> Iterator[SkippedFileItem]:
        """List all files of a dataset that are not used, and why."""
        return self._iterate_pages(SkippedFileItem, f"/v1/datasets/{dataset}/skipped", {"limit": 1000})

    def images(self, dataset: str, **filters: Any) -> Iterator[Image]:
        """List all accepted images of a dataset; filters are label, split, flag and job.

        job: a job whose own split is meant by `split`.
        """
        return self._iterate_pages(Image, f"/v1/datasets/{dataset}/images", {"limit": 1000, **filters})

    def image(self, dataset: str, digest: str) -> bytes:
        """Download the file of an image as it was uploaded."""
        return require_success(self._request("GET", f"/v1/datasets/{dataset}/images/{digest}")).content

    def thumbnail(self, dataset: str, digest: str, size: int = 256) -> bytes:
        """Get a JPEG of an image with at most `size` pixels a side, up to 512."""
        address = f"/v1/datasets/{dataset}/images/{digest}"
        return require_success(self._request("GET", address, params={"size": size})).content


def choose_name(source: UploadSource) -> str:
    """Name an upload after its folder, or its archive without the suffix, in one line of text."""
    name = source.path.resolve().name if source.is_folder else SUFFIX.sub("", source.path.name)
    text = os.fsencode(name).decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)[:255]
