"""Backbones: what can be fine-tuned, and imports of pretrained networks from files."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from graft import form
from graft.aio import resumable
from graft.aio.connection import parse, require_available
from graft.aio.datasets import choose_name
from graft.aio.predictions import ENDED
from graft.aio.resumable import AsyncUploads
from graft.aio.runtime import run, sleep, stream
from graft.results.backbones import Backbone, InspectedBackbone, Recommendation
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    import httpx

    from graft.results.shared import Event


class AsyncBackbones(AsyncUploads):
    """Calls about backbones."""

    def backbones(self, **filters: Any) -> AsyncIterator[Backbone]:
        """List backbones by id.

        Filters are q, source, status, licence, max_params, max_multiply_adds and min_accuracy.
        """
        return self._iterate_pages(Backbone, "/v1/backbones", filters)

    async def backbone(self, backbone: str) -> InspectedBackbone:
        """Get a backbone; its `inspection`, with stages and cuts, is null until a worker has inspected it."""
        return InspectedBackbone(await self._get(f"/v1/backbones/{backbone}"))

    async def inspect_backbone(self, backbone: str) -> InspectedBackbone:
        """Have a worker find a backbone's stages and cuts, and wait; returns it, inspected or failed."""
        found = InspectedBackbone(await self._call("POST", f"/v1/backbones/{backbone}/inspect"))
        while found["status"] in ("listed", "inspecting"):
            await sleep(0.2)
            found = await self.backbone(backbone)
        return found

    async def create_backbone(
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
        source = await run(partial(list_source, path))
        chosen = choose_name(source) if name is None else name
        if samples is None and resumable.choose(source, in_pieces):
            fields = {**(options or {}), "name": chosen}
            return InspectedBackbone(await self._use_upload("/v1/backbones", source, fields, sent))
        texts = {"name": chosen, **form.write_options(options or {})}
        headers = {**form.HEADERS, "Idempotency-Key": str(uuid.uuid4())}
        with ExitStack() as stack:
            packed = await run(partial(stack.enter_context, form.packing(samples)))
            parts = {"file": source, "samples": packed}

            async def upload() -> httpx.Response:
                content = stream(form.stream(texts, parts, sent))
                return require_available(await self._http.post("/v1/backbones", content=content, headers=headers))

            return InspectedBackbone(parse(await self._retry(upload)))

    async def pretrain_backbone(
        self,
        dataset: str,
        source: str,
        method: str | Mapping[str, Any] = "contrastive",
        *,
        name: str = "",
        image_size: int | None = None,
        seed: int = 0,
    ) -> InspectedBackbone:
        """Have a worker pretrain a backbone on the images of a dataset; returns the new one, which is then pretrained.

        source: the backbone to start from. method: contrastive, masked, denoising or supervised, or an object with its
        `kind` and options. image_size: longer side in pixels, by default the backbone's own. A call that is repeated
        makes no second.
        """
        pretrain = {"dataset": dataset, "from": source, "method": method, "image_size": image_size, "seed": seed}
        body = {"pretrain": pretrain, "name": name}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return InspectedBackbone(await self._call("POST", "/v1/backbones", json=body, headers=key))

    async def answer_import(
        self, backbone: str, options: Mapping[str, Any] | None = None, samples: Path | None = None
    ) -> InspectedBackbone:
        """Go on with an import that failed for want of its preprocessing, labels or samples; returns the backbone."""
        address = f"/v1/backbones/{backbone}/preprocessing"
        if samples is None:
            return InspectedBackbone(await self._call("POST", address, json=options or {}))
        fields = form.write_options(options or {})
        with ExitStack() as stack:
            packed = await run(partial(stack.enter_context, form.packing(samples)))
            content = stream(form.stream(fields, {"samples": packed}, lambda size: None))
            return InspectedBackbone(parse(await self._http.post(address, content=content, headers=form.HEADERS)))

    async def wait_for_backbone(self, backbone: str) -> InspectedBackbone:
        """Wait until a backbone is imported or pretrained; returns it, ready or failed."""
        async for _ in self.import_events(backbone):
            pass
        return await self.backbone(backbone)

    def import_events(self, backbone: str, after: str | None = None) -> AsyncIterator[Event]:
        """Stream the events of an import or a pretraining after the id `after`, live until it ends."""

        async def has_ended() -> bool:
            return (await self.backbone(backbone)).status not in ("importing", "pretraining")

        return self._follow(f"/v1/backbones/{backbone}/events", has_ended, after)

    async def recommend_backbones(
        self, dataset: str, candidates: Sequence[str] | None = None, *, min_accuracy: float | None = None
    ) -> Recommendation:
        """Have a worker rank backbones on the training images of a dataset, and wait; returns the recommendation.

        candidates: names of backbones, by default those at hand. `recommended` is null where none suffices.
        """
        made = await self.create_recommendation(dataset, candidates, min_accuracy=min_accuracy)
        return await self.wait_for_recommendation(made.id)

    async def create_recommendation(
        self, dataset: str, candidates: Sequence[str] | None = None, *, min_accuracy: float | None = None
    ) -> Recommendation:
        """Have a worker rank backbones; returns the recommendation at once. A call that is repeated makes no second."""
        named = None if candidates is None else list(candidates)
        body = {"dataset": dataset, "candidates": named, "min_accuracy": min_accuracy}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Recommendation(await self._call("POST", "/v1/backbones/recommend", json=body, headers=key))

    async def recommendation(self, recommendation: str) -> Recommendation:
        """Get a recommendation: its state, and the candidates as far as they are measured, best first."""
        return Recommendation(await self._get(f"/v1/recommendations/{recommendation}"))

    def recommendations(self, **filters: Any) -> AsyncIterator[Recommendation]:
        """List all recommendations, newest first; filters are status, dataset."""
        return self._iterate_pages(Recommendation, "/v1/recommendations", filters)

    async def cancel_recommendation(self, recommendation: str) -> Recommendation:
        """Cancel a recommendation."""
        return Recommendation(await self._call("POST", f"/v1/recommendations/{recommendation}/cancel"))

    async def delete_recommendation(self, recommendation: str) -> None:
        """Delete a recommendation that has ended; cached features stay."""
        await self._delete(f"/v1/recommendations/{recommendation}")

    def recommendation_events(self, recommendation: str) -> AsyncIterator[Event]:
        """Stream all events of a recommendation, live until it ends; resumes after a broken connection."""

        async def has_ended() -> bool:
            return (await self.recommendation(recommendation)).status in ENDED

        return self._follow(f"/v1/recommendations/{recommendation}/events", has_ended)

    async def wait_for_recommendation(self, recommendation: str) -> Recommendation:
        """Wait until a recommendation has ended; returns it."""
        async for _ in self.recommendation_events(recommendation):
            pass
        return await self.recommendation(recommendation)

    async def delete_backbone(self, backbone: str) -> None:
        """Delete an uploaded backbone that no job uses."""
        await self._delete(f"/v1/backbones/{backbone}")
