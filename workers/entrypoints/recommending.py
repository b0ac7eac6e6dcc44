"""Measure backbones on the images of a dataset in a child process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.datasets.pack import Pack
from models.features.cache import FeatureCache
from models.pipeline.candidate import draw_sample, measure_backbone
from models.runtime import devices
from predictor.latency import measure_latency
from service.storage import Storage
from workers.entrypoints.training import PERMANENT
from workers.work.recommending import Measured, Progressed, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.pipeline.spec import TrainingSpec
    from models.runtime.supervisor_callbacks import Context
    from workers.work.recommending import Message, RecommendationOrder

REPORT_SECONDS = 0.5
"""Interval of reports of progress."""


def work(order: RecommendationOrder, context: Context) -> Iterator[Message]:
    """Measure the candidates that are left, each as a job by the empty recipe would use it."""
    devices.compute_exactly()
    progress = _Progress(order)
    pack: Pack | None = None
    for position, spec in order.candidates.items():
        if pack is None:
            storage = Storage(spec.storage)
            paths = (storage.local_path(key, order.folder) for key in (spec.dataset.pack, spec.dataset.index))
            pack = Pack(*paths)
        yield progress.report(spec.backbone.name, 0.0)
        try:
            with devices.translate_errors():
                yield from _measure(position, spec, pack, context, progress)
        except PERMANENT as error:
            yield Unusable(position=position, code=error.code, message=str(error))
        progress.done += 1


def _measure(position: int, spec: TrainingSpec, pack: Pack, context: Context, progress: _Progress) -> Iterator[Message]:
    steps = measure_backbone(spec, pack, context)
    while True:
        try:
            share = next(steps)
        except StopIteration as ended:
            ready, figures = ended.value
            break
        if progress.is_due:
            yield progress.report(spec.backbone.name, share)
    latency = measure_latency(
        ready.cut_network,
        ready.preprocessing,
        devices.choose(spec.device),
        FeatureCache(spec.cache, spec.cache_bytes),
        pack,
        draw_sample(pack, ready.train).images,
        context.heartbeat,
    )
    yield Measured(position=position, figures=figures, latency_seconds=latency)


class _Progress:
    """Progress in candidates, and the expected end."""

    def __init__(self, order: RecommendationOrder) -> None:
        self._total, self._left = order.total, len(order.candidates)
        self._began, self._reported = time.monotonic(), 0.0
        self.done = 0
        """Candidates that this attempt has done."""

    @property
    def is_due(self) -> bool:
        """True if the last report is old."""
        return time.monotonic() - self._reported >= REPORT_SECONDS

    def report(self, candidate: str, share: float) -> Progressed:
        """Report the progress so far, with this share of a candidate done."""
        self._reported = now = time.monotonic()
        done = self.done + 0.9 * share  # the rest is its accuracy and its latency
        earlier = self._total - self._left
        return Progressed(
            percent=round(99 * (earlier + done) / self._total, 1),
            candidate=candidate,
            eta_seconds=round((now - self._began) * (self._left - done) / done, 1) if done else None,
        )
