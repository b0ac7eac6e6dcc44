"""Predictions for a whole pack are those of the delivered files, and of single requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from models.datasets.pack import Pack
from models.pipeline.fine_tune import fine_tune
from predictor.batch import BATCH, BatchOptions, BatchPredictor, PredictedImage
from predictor.errors import ModelUnloadable
from predictor.memory import ModelMemory
from predictor.predicting import Answering
from service.predictions.protocol import NamedModel, Question, SentImage
from tests.support.images import coloured, encoded, noise, write_zip
from tests.support.predicting import predict_plainly
from tests.support.small_job import small_job
from tests.support.small_pack import packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings
    from tests.support.predicting import Trained

ONE_TRUNK = ("linear", "linear again", "mlp", "cosine", "multi-label")
OTHER_TRUNKS = ("unfrozen", "shortened", "graph under an mlp", "torchvision")


@pytest.fixture
def settings(trained: Trained, tmp_path: Path) -> Settings:
    """Settings with a feature cache of their own."""
    return trained.settings.model_copy(update={"cache_dir": tmp_path / "cache"})


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Images that no training has seen, more than a batch."""
    files = {f"{label}/{seed}.png": coloured(label, 200 + seed) for label in range(3) for seed in range(27)}
    return packed(write_zip(tmp_path / "unseen.zip", files))


def build(trained: Trained, names: Sequence[str], top_k: int = 2) -> BatchOptions:
    return BatchOptions([NamedModel(f"my {name}", trained.ids[name]) for name in names], top_k, 0.9)


def predict(predictor: BatchPredictor, first: int = 0) -> list[PredictedImage]:
    return [image for batch in predictor.predict(first) for image in batch]


@pytest.mark.parametrize("names", [ONE_TRUNK, OTHER_TRUNKS], ids=["one trunk", "others"])
def test_predictions_are_those_of_the_delivered_files(
    trained: Trained, stored: Database, settings: Settings, pack: Pack, names: tuple[str, ...]
) -> None:
    predictor = BatchPredictor(ModelMemory(stored, settings), build(trained, names), pack)
    found = predict(predictor)
    assert [image.position for image in found] == list(range(len(pack)))
    compared = [*range(0, len(pack), 7), BATCH - 1, BATCH]
    files = [pack.read_file(position) for position in compared]
    for place, name in enumerate(names):
        classes, expected = predict_plainly(trained.files[name], files)
        for image, probabilities in zip([found[position] for position in compared], expected, strict=True):
            prediction = image.predictions[place]
            assert (prediction["model"], prediction["checkpoint"]) == (f"my {name}", trained.ids[name])
            best, second = probabilities.topk(2)[1].tolist()
            assert prediction["classes"][0]["name"] == classes[best]
            assert prediction["classes"][0]["probability"] == pytest.approx(float(probabilities[best]), abs=1e-4)
            assert prediction["classes"][1]["probability"] == pytest.approx(float(probabilities[second]), abs=1e-4)


def test_predictions_are_those_of_single_requests(
    trained: Trained, stored: Database, settings: Settings, pack: Pack
) -> None:
    names = (*ONE_TRUNK, "unfrozen")
    options = build(trained, names)
    found = predict(BatchPredictor(ModelMemory(stored, settings), options, pack))
    files = [pack.read_file(position) for position in range(len(pack))]
    sent = [SentImage(None, len(file)) for file in files]
    answering = Answering(stored, settings)
    try:
        question = Question(options.models, sent, options.top_k, options.coverage, is_alone=False)
        answers = asyncio.run(answering.answer(question, files))["data"]
    finally:
        answering.close()
    for image, answer in zip(found, answers, strict=True):
        assert (image.error, answer["error"]) == (None, None)
        assert_agree(image.predictions, answer["predictions"])


def assert_agree(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Check that predictions are the same, but for the rounding of an engine."""
    for one, other in zip(some, others, strict=True):
        assert _name(one) == _name(other)
        assert [each["probability"] for each in one["classes"]] == pytest.approx(
            [each["probability"] for each in other["classes"]], abs=1e-4
        )
        assert one["score"] == pytest.approx(other["score"], rel=1e-3)


def _name(prediction: dict[str, Any]) -> list[Any]:
    """List all of a prediction that is not a number."""
    named = [each["name"] for each in prediction["classes"]][:1]
    return [prediction["model"], prediction["checkpoint"], named, prediction["set"], prediction["unlike_training"]]


def test_models_of_one_trunk_cost_one_pass_and_images_that_are_known_none(
    trained: Trained, stored: Database, settings: Settings, pack: Pack
) -> None:
    memory = ModelMemory(stored, settings)
    predictor = BatchPredictor(memory, build(trained, ONE_TRUNK), pack)
    assert len(predictor._groups) == 1
    first = predict(predictor)
    assert predictor.cached == 0
    again = BatchPredictor(ModelMemory(stored, settings), build(trained, ONE_TRUNK[:1]), pack)
    for image, earlier in zip(predict(again), first, strict=True):
        assert_agree(image.predictions, earlier.predictions[:1])
    assert again.cached == len(pack)


def test_images_that_a_job_has_tested_exactly_are_known(
    trained: Trained, stored: Database, settings: Settings, tmp_path: Path
) -> None:
    job = small_job(tmp_path, epochs=1, precision="exact")
    list(fine_tune(*job))
    assert job.spec.cache == settings.cache
    predictor = BatchPredictor(ModelMemory(stored, settings), build(trained, ["linear"]), job.pack)
    predict(predictor)
    assert 0 < predictor.cached < len(job.pack), "features of training images are rounded"


def test_it_resumes_at_any_image(trained: Trained, stored: Database, settings: Settings, pack: Pack) -> None:
    predictor = BatchPredictor(ModelMemory(stored, settings), build(trained, ["mlp"]), pack)
    whole = predict(predictor)
    assert [image.position for image in predict(predictor, 5)] == list(range(5, len(pack)))
    for image, earlier in zip(predict(predictor, BATCH + 1), whole[BATCH + 1 :], strict=True):
        assert_agree(image.predictions, earlier.predictions)


def test_a_damaged_image_is_an_error_for_itself_alone(
    trained: Trained, stored: Database, settings: Settings, tmp_path: Path
) -> None:
    files = {f"a/{seed}.png": encoded(noise(seed)) for seed in range(5)}
    archive = write_zip(
        tmp_path / "damaged.zip", {**files, **{f"b/{seed}.png": coloured(0, seed) for seed in range(2)}}
    )
    there = packed(archive)
    offset = int(there._records["offset"][2])
    content = bytearray(archive.with_suffix(".pack").read_bytes())
    content[offset : offset + 40] = bytes(40)
    archive.with_suffix(".pack").write_bytes(content)
    damaged = Pack(archive.with_suffix(".pack"), archive.with_suffix(".index"))
    found = predict(BatchPredictor(ModelMemory(stored, settings), build(trained, ["linear", "torchvision"]), damaged))
    assert [image.error is None for image in found] == [True, True, False, True, True, True, True]
    assert found[2].predictions == []
    assert found[2].error is not None
    assert found[2].error["code"] == "not_an_image"
    assert all(len(image.predictions) == 2 for image in found if image.error is None)


def test_a_model_that_cannot_be_loaded_is_named(
    trained: Trained, stored: Database, settings: Settings, pack: Pack
) -> None:
    options = BatchOptions([NamedModel("gone", "ckpt_gone")], 1, 0.9)
    with pytest.raises(ModelUnloadable, match="ckpt_gone"):
        BatchPredictor(ModelMemory(stored, settings), options, pack)
