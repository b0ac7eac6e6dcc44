"""Predictions for a whole pack: image after image in constant memory, models of one trunk together."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from predictor import batcher
from predictor.answers import choose_all, describe_image, make_all_sets
from predictor.batcher import Work
from predictor.errors import NO_MEMORY
from predictor.images import ImageInput, KnownFiles
from predictor.memory import Selection, compile_engine
from predictor.predicting import NOT_FINITE, prepare_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.datasets.pack import Pack
    from predictor.memory import ModelMemory, Together
    from predictor.plan import Outputs
    from predictor.predicting import Error
    from service.predictions.protocol import NamedModel

BATCH = 64
"""Images that are computed together."""
AHEAD = 2
"""Batches that are decoded ahead of the one that is computed."""


@dataclass(frozen=True)
class BatchOptions:
    """Options of a batch prediction: its models, and what they say about each image."""

    models: Sequence[NamedModel]
    top_k: int
    coverage: float


@dataclass
class PredictedImage:
    """An image of the pack: what each model predicts, or why there is nothing."""

    position: int
    predictions: list[dict[str, Any]]
    error: Error | None = None


@dataclass
class _Batch:
    """Images that are being decoded."""

    images: list[PredictedImage]
    inputs: list[list[ImageInput]] = field(default_factory=list)
    """For each group."""
    decoded: list[list[Future[Error | None]]] = field(default_factory=list)


class BatchPredictor:
    """Predicts for the images of one pack."""

    def __init__(self, memory: ModelMemory, options: BatchOptions, pack: Pack) -> None:
        """Load all models. Raises ModelUnloadable."""
        self._options, self._pack = options, pack
        loaded = memory.get([named.checkpoint for named in options.models])
        self._groups = Selection(loaded).together
        for group in self._groups:
            compile_engine(group.trunk)  # or the first images would be computed by a slower one
        self.listed = [min(options.top_k, len(model.classes)) for _, model, _ in loaded]
        """Classes that each model lists for an image."""
        self._known = KnownFiles()
        self.cached = 0
        """Times that the feature cache had an image."""

    def predict(self, first: int) -> Iterator[list[PredictedImage]]:
        """Predict for the images from `first` on, a batch at a time, in the order of the pack."""
        ahead: deque[_Batch] = deque()
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as threads:
            for start in range(first, len(self._pack), BATCH):
                ahead.append(self._begin(range(start, min(start + BATCH, len(self._pack))), threads))
                if len(ahead) > AHEAD:
                    yield self._finish(ahead.popleft())
            while ahead:
                yield self._finish(ahead.popleft())

    def _begin(self, positions: range, threads: ThreadPoolExecutor) -> _Batch:
        """Begin to decode the images of a batch whose pixels will be needed."""
        batch = _Batch([PredictedImage(position, [{}] * len(self._options.models)) for position in positions])
        files = [self._pack.read_file(position) for position in positions]
        for group in self._groups:
            # By other rules of decoding, the same file has other pixels.
            is_known = group.decoding == self._pack.decoding
            digests = self._pack.digests[positions.start : positions.stop].tolist() if is_known else [b""] * len(files)
            inputs = [
                ImageInput(file, group.decoding, group.trunk.views, self._known, digest)
                for file, digest in zip(files, digests, strict=True)
            ]
            cached = group.trunk.find_cached({image.digest for image in inputs if image.digest})
            self.cached += sum(image.digest in cached for image in inputs)
            batch.inputs.append(inputs)
            batch.decoded.append([self._decode(image, image.digest in cached, threads) for image in inputs])
        return batch

    def _decode(self, image: ImageInput, is_cached: bool, threads: ThreadPoolExecutor) -> Future[Error | None]:
        if is_cached:
            done: Future[Error | None] = Future()
            done.set_result(None)
            return done
        return threads.submit(prepare_image, image, needs_pixels=True)

    def _finish(self, batch: _Batch) -> list[PredictedImage]:
        for group, inputs, decoded in zip(self._groups, batch.inputs, batch.decoded, strict=True):
            for image, future in zip(batch.images, decoded, strict=True):
                image.error = image.error or future.result()
            pairs = zip(batch.images, inputs, strict=True)
            there = [(image, one) for image, one in pairs if image.error is None]
            if there:
                self._predict(group, there)
        for image in batch.images:
            if image.error is not None:
                image.predictions = []
        return batch.images

    def _predict(self, group: Together, images: Sequence[tuple[PredictedImage, ImageInput]]) -> None:
        """Predict together, or one by one where memory is short: an error is one for its image alone."""
        together = Work(group.trunk, group.models, [one for _, one in images])
        batcher.compute([together])
        group.trunk.write_rows(all_rows=True)  # before what was computed of them is stored
        if together.outputs.exception() is None:
            self._describe(group, together.outputs.result(), [image for image, _ in images])
            return
        for image, one in images:
            alone = Work(group.trunk, group.models, [one])
            batcher.compute([alone])
            try:
                self._describe(group, alone.outputs.result(), [image])
            except MemoryError:
                image.error = NO_MEMORY

    def _describe(self, group: Together, outputs: Outputs, images: Sequence[PredictedImage]) -> None:
        chosen = choose_all(outputs, self._options.top_k)
        sets = make_all_sets(outputs, self._options.coverage)
        for row, image in enumerate(images):
            if not outputs.is_finite[row]:
                image.error = NOT_FINITE
                continue
            for position, described in zip(group.places, describe_image(outputs, chosen, sets, row), strict=True):
                image.predictions[position] = {"model": self._options.models[position].model, **described}
