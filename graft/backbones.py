"""Backbones: what can be fine-tuned, and imports of pretrained networks from files."""

# Written by tools/synchronous_client.py from graft/aio/backbones.py: change that, and `make docs`.
from __future__ import annotations

import uuid
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from graft import form, resumable
from graft.connection import parse, require_available
from graft.datasets import choose_name
from graft.results.backbones import Backbone, InspectedBackbone
from graft.resumable import Uploads
from graft.runtime import run, sleep, stream
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import httpx

    from graft.results.shared import Event


class Backbones(Uploads):
    """Calls about backbones."""

    def backbones(self, **filters: Any) -> Iterator[Backbone]:
        """List backbones by id.

        Filters are q, source, status, licence, max_params, max_multiply_adds and min_accuracy.
        """
        return self._iterate_pages(Backbone, "/v1/backbones", filters)

    def backbone(self, backbone: str) -> InspectedBackbone:
        """Get a backbone; its `inspection`, with stages and cuts, is null until a worker has inspected it."""
        return InspectedBackbone(self._get(f"/v1/backbones/{backbone}"))

    def inspect_backbone(self, backbone: str) -> InspectedBackbone:
        """Have a worker find a backbone's stages and cuts, and wait; returns it, inspected or failed."""
        found = InspectedBackbone(self._call("POST", f"/v1/backbones/{backbone}/inspect"))
        while found["status"] in ("listed", "inspecting"):
            sleep(0.2)
            found = self.backbone(backbone)
        return found

    def create_backbone(
        self,
        path: str | Path | UploadSource,
        name: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        samples: Path | None = None,
        in_pieces: bool | None = None,
        sent: Callable[[int], None] = lambda size: None,
    ) -> InspectedBackbone:
        """Upload a pretrained network, a file or a folder; returns the backbone, which is then imported.

        options: what the file does not say: format, architecture, preprocessing, labels. samples: a .zip, or a folder
        with a folder of images for each class that is expected. in_pieces, sent: as of `create_dataset`; files with
        samples are sent at once.
        """
        source = run(partial(list_source, path))
        chosen = choose_name(source) if name is None else name
        if samples is None and resumable.choose(source, in_pieces):
            fields = {**(options or {}), "name": chosen}
            return InspectedBackbone(self._use_upload("/v1/backbones", source, fields, sent))
        texts = {"name": chosen, **form.write_options(options or {})}
        headers = {**form.HEADERS, "Idempotency-Key": str(uuid.uuid4())}
        with ExitStack() as stack:
            packed = run(partial(stack.enter_context, form.packing(samples)))
            parts = {"file": source, "samples": packed}

            def upload() -> httpx.Response:
                content = stream(form.stream(texts, parts, sent))
                return require_available(self._http.post("/v1/backbones", content=content, headers=headers))

            return InspectedBackbone(parse(self._retry(upload)))

    def answer_import(
        self, backbone: str, options: Mapping[str, Any] | None = None, samples: Path | None = None
    ) -> InspectedBackbone:
        """Go on with an import that failed for want of its preprocessing, labels or samples; returns the backbone."""
        address = f"/v1/backbones/{backbone}/preprocessing"
        if samples is None:
            return InspectedBackbone(self._call("POST", address, json=options or {}))
        fields = form.write_options(options or {})
        with ExitStack() as stack:
            packed = run(partial(stack.enter_context, form.packing(samples)))
            content = stream(form.stream(fields, {"samples": packed}, lambda size: None))
            return InspectedBackbone(parse(self._http.post(address, content=content, headers=form.HEADERS)))

    def wait_for_backbone(self, backbone: str) -> InspectedBackbone:
        """Wait until a backbone is imported; returns it, ready or failed."""
        for _ in self.import_events(backbone):
            pass
        return self.backbone(backbone)

    def import_events(self, backbone: str, after: str | None = None) -> Iterator[Event]:
        """Stream the events of an import after the id `after`, live until it ends."""

        def has_ended() -> bool:
            return (self.backbone(backbone)).status != "importing"

        return self._follow(f"/v1/backbones/{backbone}/events", has_ended, after)

    def delete_backbone(self, backbone: str) -> None:
        """Delete an uploaded backbone that no job uses."""
        self._delete(f"/v1/backbones/{backbone}")
