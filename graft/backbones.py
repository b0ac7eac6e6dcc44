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
from graft.predictions import ENDED
from graft.results.backbones import Backbone, InspectedBackbone, Recommendation
from graft.resumable import Uploads
from graft.runtime import run, sleep, stream
from graft.upload_source import UploadSource, list_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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

    def pretrain_backbone(
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
        return InspectedBackbone(self._call("POST", "/v1/backbones", json=body, headers=key))

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
        """Wait until a backbone is imported or pretrained; returns it, ready or failed."""
        for _ in self.import_events(backbone):
            pass
        return self.backbone(backbone)

    def import_events(self, backbone: str, after: str | None = None) -> Iterator[Event]:
        """Stream the events of an import or a pretraining after the id `after`, live until it ends."""

        def has_ended() -> bool:
            return (self.backbone(backbone)).status not in ("importing", "pretraining")

        return self._follow(f"/v1/backbones/{backbone}/events", has_ended, after)

    def recommend_backbones(
        self, dataset: str, candidates: Sequence[str] | None = None, *, min_accuracy: float | None = None
    ) -> Recommendation:
        """Have a worker rank backbones on the training images of a dataset, and wait; returns the recommendation.

        candidates: names of backbones, by default those at hand. `recommended` is null where none suffices.
        """
        made = self.create_recommendation(dataset, candidates, min_accuracy=min_accuracy)
        return self.wait_for_recommendation(made.id)

    def create_recommendation(
        self, dataset: str, candidates: Sequence[str] | None = None, *, min_accuracy: float | None = None
    ) -> Recommendation:
        """Have a worker rank backbones; returns the recommendation at once. A call that is repeated makes no second."""
        named = None if candidates is None else list(candidates)
        body = {"dataset": dataset, "candidates": named, "min_accuracy": min_accuracy}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Recommendation(self._call("POST", "/v1/backbones/recommend", json=body, headers=key))

    def recommendation(self, recommendation: str) -> Recommendation:
        """Get a recommendation: its state, and the candidates as far as they are measured, best first."""
        return Recommendation(self._get(f"/v1/recommendations/{recommendation}"))

    def recommendations(self, **filters: Any) -> Iterator[Recommendation]:
        """List all recommendations, newest first; filters are status, dataset."""
        return self._iterate_pages(Recommendation, "/v1/recommendations", filters)

    def cancel_recommendation(self, recommendation: str) -> Recommendation:
        """Cancel a recommendation."""
        return Recommendation(self._call("POST", f"/v1/recommendations/{recommendation}/cancel"))

    def delete_recommendation(self, recommendation: str) -> None:
        """Delete a recommendation that has ended; cached features stay."""
        self._delete(f"/v1/recommendations/{recommendation}")

    def recommendation_events(self, recommendation: str) -> Iterator[Event]:
        """Stream all events of a recommendation, live until it ends; resumes after a broken connection."""

        def has_ended() -> bool:
            return (self.recommendation(recommendation)).status in ENDED

        return self._follow(f"/v1/recommendations/{recommendation}/events", has_ended)

    def wait_for_recommendation(self, recommendation: str) -> Recommendation:
        """Wait until a recommendation has ended; returns it."""
        for _ in self.recommendation_events(recommendation):
            pass
        return self.recommendation(recommendation)

    def delete_backbone(self, backbone: str) -> None:
        """Delete an uploaded backbone that no job uses."""
        self._delete(f"/v1/backbones/{backbone}")
