"""Answering of one question: models are loaded, images decoded by threads, and their logits computed in batches."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from graft.images import BadImage
from models.features.trunk import FeaturesNotFinite
from predictor.answers import choose_all, describe_image, make_all_sets
from predictor.batcher import Batcher, Work
from predictor.dataset_images import DatasetImages, PackUnreadable
from predictor.errors import NO_MEMORY, PredictionFailed
from predictor.images import ImageInput, KnownFiles
from predictor.memory import ModelMemory, Selection
from predictor.nearest import NearestImages
from predictor.saliency import draw_saliency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from predictor.dataset_images import OpenPack
    from predictor.memory import Together
    from predictor.plan import Outputs
    from service.database import Database
    from service.predictions.protocol import Question, SentImage
    from service.settings import Settings

Error = dict[str, str]
NOT_FINITE = {
    "code": FeaturesNotFinite.code,
    "message": "The backbone gives NaN or infinite values for this image, so that no model on it has an answer.",
}


class Answering:
    """Everything that a predictor process has in its memory."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.memory = ModelMemory(database, settings)
        self.batcher = Batcher()
        self._datasets = DatasetImages(database, settings)
        self._nearest = NearestImages(database, self._datasets)
        self._known = KnownFiles()
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._comparer = ThreadPoolExecutor(1, thread_name_prefix="compare")

    async def answer(self, question: Question, files: list[bytes]) -> dict[str, Any]:
        """Answer a question, as the API does; raises PredictionFailed and MemoryError."""
        loop = asyncio.get_running_loop()
        selection = await self._select(question)
        errors: list[Error | None] = [image.error for image in question.images]
        if any(image.dataset is not None for image in question.images):
            await loop.run_in_executor(self._decoders, self._read_datasets, question.images, files, errors)
        predictions: list[list[dict[str, Any]]] = [[{}] * selection.count for _ in files]
        for together in selection.together:
            await self._predict(together, files, errors, question, predictions)
        if question.is_alone and errors[0] is not None:
            raise PredictionFailed(422, errors[0]["code"], errors[0]["message"])
        return {
            "data": [
                {
                    "image": image.name,
                    "predictions": _name_models(question, predictions[place]) if errors[place] is None else [],
                    "error": errors[place],
                }
                for place, image in enumerate(question.images)
            ]
        }

    async def explain(self, question: Question, files: list[bytes], class_name: str | None) -> bytes:
        """Explain a model's answer for one image by a saliency map, a PNG; raises PredictionFailed and MemoryError."""
        together, image = await self._open_one(question, files[0], needs_pixels=True)
        (model,) = together.models
        if class_name is not None and class_name not in model.classes:
            names = ", ".join(model.classes)
            raise PredictionFailed(
                422, "label_unknown", f"{model.checkpoint} has no class {class_name:.100}; it has {names:.500}."
            )
        assert image.size is not None
        number = None if class_name is None else model.classes.index(class_name)
        run = partial(asyncio.get_running_loop().run_in_executor, self._decoders)
        return await run(draw_saliency, together.trunk, model, image.render(), image.size, number)

    async def find_nearest(self, question: Question, files: list[bytes]) -> dict[str, Any]:
        """Find the `top_k` training images most like one image; raises PredictionFailed and MemoryError."""
        together, image = await self._open_one(question, files[0], needs_pixels=False)
        outputs = await self._compute(together, [image])
        if not outputs.is_finite[0]:
            raise PredictionFailed(422, NOT_FINITE["code"], NOT_FINITE["message"])
        run = partial(asyncio.get_running_loop().run_in_executor, self._comparer)
        checkpoint = together.models[0].checkpoint
        return await run(self._nearest.find, checkpoint, together.trunk, outputs.values[0], question.top_k)

    async def _open_one(self, question: Question, file: bytes, *, needs_pixels: bool) -> tuple[Together, ImageInput]:
        """Load the model of a question about one image, and decode the image; raises PredictionFailed."""
        run = partial(asyncio.get_running_loop().run_in_executor, self._decoders)
        files, errors = [file], [question.images[0].error]
        await run(self._read_datasets, question.images, files, errors)
        (together,) = (await self._select(question)).together
        known = KnownFiles() if needs_pixels else self._known
        image = ImageInput(files[0], together.decoding, together.trunk.views, known)
        error = errors[0] or await run(partial(prepare_image, image, needs_pixels=needs_pixels))
        if error is not None:
            raise PredictionFailed(422, error["code"], error["message"])
        return together, image

    async def _select(self, question: Question) -> Selection:
        """Find the models of a question, and load those that are not there; raises ModelUnloadable."""
        checkpoints = [model.checkpoint for model in question.models]
        selection = self.memory.find(checkpoints)
        if selection is None:
            loading = partial(asyncio.get_running_loop().run_in_executor, self._loader)
            selection = Selection(await loading(self.memory.get, checkpoints))
        return selection

    async def _compute(self, together: Together, images: list[ImageInput]) -> Outputs:
        """Compute the outputs of models of one trunk for images; raises MemoryError."""
        return await asyncio.wrap_future(self.batcher.submit(Work(together.trunk, together.models, images)))

    async def _predict(
        self,
        together: Together,
        files: list[bytes],
        errors: list[Error | None],
        question: Question,
        predictions: list[list[dict[str, Any]]],
    ) -> None:
        """Predict with the models of one trunk, and put what they say, or why not, into `predictions` and `errors`."""
        loop, trunk = asyncio.get_running_loop(), together.trunk
        good = [place for place in range(len(files)) if errors[place] is None]
        inputs = [ImageInput(files[place], together.decoding, trunk.views, self._known) for place in good]
        new = [(place, image) for place, image in zip(good, inputs, strict=True) if not image.digest]
        found = await asyncio.gather(*(loop.run_in_executor(self._decoders, prepare_image, image) for _, image in new))
        for (place, _), error in zip(new, found, strict=True):
            errors[place] = error
        there = [(place, image) for place, image in zip(good, inputs, strict=True) if errors[place] is None]
        if not there:
            return
        outputs = await self._compute(together, [image for _, image in there])
        chosen, sets = choose_all(outputs, question.top_k), make_all_sets(outputs, question.coverage)
        for row, (place, _) in enumerate(there):
            if not outputs.is_finite[row]:
                errors[place] = NOT_FINITE
                continue
            for model_place, described in zip(together.places, describe_image(outputs, chosen, sets, row), strict=True):
                predictions[place][model_place] = described

    def _read_datasets(self, images: Sequence[SentImage], files: list[bytes], errors: list[Error | None]) -> None:
        """Read the images of datasets into `files`, or why that cannot be done into `errors`."""
        packs: dict[str, OpenPack | None] = {}
        for place, image in enumerate(images):
            if image.dataset is None or image.digest is None or errors[place] is not None:
                continue
            try:
                if image.dataset not in packs:
                    packs[image.dataset] = self._datasets.open(image.dataset)
            except PackUnreadable:
                errors[place] = _describe_unreadable(image.dataset)
                continue
            pack = packs[image.dataset]
            file = None if pack is None else pack.read(image.digest)
            files[place] = file or b""
            errors[place] = None if file else _describe_missing(image.dataset, image.digest)

    def close(self) -> None:
        """End the threads, and close the datasets."""
        self.batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._comparer.shutdown(wait=False, cancel_futures=True)
        self._datasets.close()


def prepare_image(image: ImageInput, *, needs_pixels: bool = False) -> Error | None:
    """Decode an image, one that was seen before only if it `needs_pixels`; returns why that cannot be done."""
    try:
        if needs_pixels:
            image.render()
        else:
            image.prepare()
    except BadImage as error:
        return {"code": error.code, "message": str(error)}
    except MemoryError:
        return NO_MEMORY
    return None


def _describe_unreadable(dataset: str) -> Error:
    message = f"The predictor cannot read the images of {dataset} from the storage; its log says why."
    return {"code": "dataset_unreadable", "message": message}


def _describe_missing(dataset: str, digest: str) -> Error:
    message = f"The dataset {dataset} has no image with the digest sha256:{digest}."
    return {"code": "image_not_found", "message": message}


def _name_models(question: Question, predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"model": asked.model, **each} for asked, each in zip(question.models, predictions, strict=True)]
