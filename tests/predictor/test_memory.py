"""Loaded models answer as plain libraries do with the delivered files, and share trunks."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import predictor.memory
from predictor.answers import choose_all, describe_image, make_all_sets
from predictor.batcher import Batcher, Work
from predictor.errors import ModelUnloadable
from predictor.images import ImageInput, KnownFiles
from predictor.memory import ModelMemory
from service.checkpoints import blobs
from tests.support.images import coloured
from tests.support.predicting import IMAGES, VARIANTS, predict_plainly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.database import Database
    from tests.support.predicting import Trained

OF_ONE_BACKBONE = ["linear", "linear again", "mlp", "cosine"]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher()
    yield batcher
    if batcher._thread.is_alive():
        batcher.close()


@pytest.fixture
def memory(trained: Trained, stored: Database, tmp_path: Path) -> ModelMemory:
    """Models on a feature cache of their own, so that each test computes what it asks for."""
    return ModelMemory(stored, trained.settings.model_copy(update={"cache_dir": tmp_path / "cache"}))


def predict(memory: ModelMemory, batcher: Batcher, checkpoint: str, images: list[bytes]) -> torch.Tensor:
    """Predict all classes' probabilities, (images, C)."""
    ((trunk, model, decoding),) = memory.get([checkpoint])
    inputs = [ImageInput(image, decoding, trunk.views, KnownFiles()) for image in images]
    for each in inputs:
        each.prepare()
    outputs = batcher.submit(Work(trunk, (model,), inputs)).result()
    chosen, sets = choose_all(outputs, len(model.classes)), make_all_sets(outputs, 0.9)
    rows = []
    for image in range(len(images)):
        (answer,) = describe_image(outputs, chosen, sets, image)
        by_name = {entry["name"]: entry["probability"] for entry in answer["classes"]}
        rows.append([by_name[name] for name in model.classes])
    return torch.tensor(rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_are_those_of_plain_libraries_on_the_delivered_file(
    variant: str, trained: Trained, memory: ModelMemory, batcher: Batcher
) -> None:
    ((trunk, _, _),) = memory.get([trained.ids[variant]])
    others = [coloured(label, seed) for label in range(3) for seed in range(200, 210)]
    for images in (IMAGES, IMAGES, others):  # computed exactly, from the cache, and by the engine
        if images is others:
            trunk.compile()
        _, expected = predict_plainly(trained.files[variant], images)
        probabilities = predict(memory, batcher, trained.ids[variant], images)
        assert (probabilities - expected).abs().max() < 1e-4
        if variant == "multi-label":
            assert torch.equal(probabilities >= 0.5, expected >= 0.5)
        assert torch.equal(probabilities.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("variant", ["linear", "mlp", "unfrozen", "multi-label", "graph under an mlp"])
def test_sets_and_novelty_are_those_of_the_statistics(
    variant: str, trained: Trained, memory: ModelMemory, batcher: Batcher
) -> None:
    ((trunk, model, decoding),) = memory.get([trained.ids[variant]])
    seen = [trained.pack.read_file(place) for place in range(0, 90, 3)]
    _, expected = predict_plainly(trained.files[variant], seen)
    inputs = [ImageInput(image, decoding, trunk.views, KnownFiles()) for image in seen]
    for each in inputs:
        each.prepare()
    outputs = batcher.submit(Work(trunk, (model,), inputs)).result()
    logits = torch.logit(expected.double()) if variant == "multi-label" else expected.double().log()
    assert model.statistics is not None
    for coverage in (0.6, 0.9):
        (masks,) = make_all_sets(outputs, coverage)
        wanted = model.statistics.make_sets(logits.numpy(), coverage)
        assert (masks[:, 0] != wanted).mean() < 0.02, "but for those at the threshold"
    if variant == "graph under an mlp":
        assert np.isnan(outputs.novelties).all()
    elif variant != "multi-label":  # which was trained on others
        assert (outputs.novelties <= 1).mean() > 0.9, "they are those of the training"


def test_checkpoints_of_one_backbone_share_a_trunk(trained: Trained, memory: ModelMemory) -> None:
    names = [*OF_ONE_BACKBONE, "multi-label"]
    assert len({id(trunk) for trunk, _, _ in memory.get([trained.ids[name] for name in names])}) == 1
    (graph,), (torchvision,) = memory.get([trained.ids["graph"]]), memory.get([trained.ids["torchvision"]])
    (again,) = memory.get([trained.ids["torchvision under an mlp"]])
    assert torchvision[0] is again[0]
    assert graph[0] is not torchvision[0]


def test_of_a_second_checkpoint_only_the_head_is_read(
    trained: Trained, memory: ModelMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.get([trained.ids["linear"]])
    read = []
    real = blobs.read_tensor

    def read_tensor(database: Database, tensor: blobs.StoredTensor) -> bytes:
        read.append(tensor.name)
        return real(database, tensor)

    monkeypatch.setattr(blobs, "read_tensor", read_tensor)
    memory.get([trained.ids["linear again"]])
    assert sorted(read) == ["fc.bias", "fc.weight"]


def test_models_asked_together_answer_as_each_alone(trained: Trained, memory: ModelMemory, batcher: Batcher) -> None:
    found = memory.get([trained.ids[name] for name in OF_ONE_BACKBONE])
    trunk, models = found[0][0], tuple(model for _, model, _ in found)
    inputs = [ImageInput(image, found[0][2], trunk.views, KnownFiles()) for image in IMAGES]
    for each in inputs:
        each.prepare()
    outputs = batcher.submit(Work(trunk, models, inputs)).result()
    chosen, sets = choose_all(outputs, 3), make_all_sets(outputs, 0.9)
    answers = [describe_image(outputs, chosen, sets, image) for image in range(len(IMAGES))]
    for place, name in enumerate(OF_ONE_BACKBONE):
        alone = predict(memory, batcher, trained.ids[name], IMAGES)
        assert [answer[place]["checkpoint"] for answer in answers] == [trained.ids[name]] * len(IMAGES)
        together = torch.tensor(
            [
                [
                    {entry["name"]: entry["probability"] for entry in answer[place]["classes"]}[c]
                    for c in models[0].classes
                ]
                for answer in answers
            ]
        )
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_images_of_a_training_have_the_probabilities_of_the_delivered_file(
    trained: Trained, stored: Database, batcher: Batcher
) -> None:
    memory = ModelMemory(stored, trained.settings)  # on the feature cache of the trainings
    seen = [trained.pack.read_file(place) for place in range(90)]
    _, expected = predict_plainly(trained.files["linear"], seen)
    predict(memory, batcher, trained.ids["linear"], seen[:20])  # those by which the engine's rounding gets known
    probabilities = predict(memory, batcher, trained.ids["linear"], seen)
    torch.testing.assert_close(probabilities, expected, atol=2e-6, rtol=0)


def test_computed_rows_are_kept_for_other_predictors(
    trained: Trained, stored: Database, memory: ModelMemory, batcher: Batcher
) -> None:
    before = memory._cache.bytes
    predict(memory, batcher, trained.ids["linear"], IMAGES)
    batcher.close()  # they are written after the answer
    assert memory._cache.bytes > before
    ((trunk, _, decoding),) = ModelMemory(stored, memory._settings).get([trained.ids["linear"]])
    image = ImageInput(IMAGES[0], decoding, trunk.views, KnownFiles())
    image.prepare()
    assert trunk.find_cached({image.digest}) == {image.digest}
    assert trunk._rows.find({image.digest, b"-" * 32}).keys() == {image.digest}


def test_an_image_whose_features_are_not_finite_fails_alone(
    trained: Trained, memory: ModelMemory, batcher: Batcher
) -> None:
    ((trunk, model, decoding),) = memory.get([trained.ids["linear"]])
    inputs = [ImageInput(image, decoding, trunk.views, KnownFiles()) for image in IMAGES[:3]]
    for each in inputs:
        each.prepare()
    alone = batcher.submit(Work(trunk, (model,), inputs)).result()
    assert alone.is_finite.all()
    (row,) = trunk._rows.find({inputs[1].digest}).values()
    trunk._rows.add(row.kind, [inputs[1].digest], np.full_like(row.values, np.nan)[None], 0.0)
    outputs = batcher.submit(Work(trunk, (model,), inputs)).result()
    assert outputs.is_finite.tolist() == [True, False, True]
    np.testing.assert_allclose(outputs.logits[0][[0, 2]], alone.logits[0][[0, 2]], atol=1e-6)


def test_the_least_recently_used_trunk_goes_first(trained: Trained, memory: ModelMemory, batcher: Batcher) -> None:
    sizes = {}
    for name in ("linear", "graph", "torchvision"):
        ((trunk, _, _),) = memory.get([trained.ids[name]])
        sizes[name] = trunk.size
    memory._settings = memory._settings.model_copy(update={"predictor_bytes": memory.bytes - 1})
    memory.get([trained.ids["linear"]])
    memory.get([trained.ids["linear again"]])
    assert memory.find([trained.ids["linear"], trained.ids["torchvision"]]) is not None
    assert memory.find([trained.ids["graph"]]) is None
    assert predict(memory, batcher, trained.ids["graph"], IMAGES[:1]).shape == (1, 3)


def test_a_trunk_that_does_not_fit_is_named(trained: Trained, memory: ModelMemory) -> None:
    memory._settings = memory._settings.model_copy(update={"predictor_bytes": 1 << 10})
    with pytest.raises(ModelUnloadable, match="GRAFT_PREDICTOR_BYTES is 1,024"):
        memory.get([trained.ids["linear"]])


def test_a_missing_checkpoint_is_named(memory: ModelMemory) -> None:
    with pytest.raises(ModelUnloadable, match="There is no checkpoint ckpt_none"):
        memory.get(["ckpt_none"])


def test_models_that_are_asked_for_together_again_have_their_plan(
    trained: Trained, memory: ModelMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many other selections there were: those that were used last are remembered, and plans are."""
    ids = [trained.ids[name] for name in OF_ONE_BACKBONE]
    ((trunk, *_), *_) = memory.get(ids)
    monkeypatch.setattr(predictor.memory, "MOST_SELECTIONS", 4)
    selections = list(permutations(ids))  # 24
    plans = []
    for chosen in (*selections, selections[0]):
        kept = memory.find(ids)
        found = memory.find(chosen)
        assert kept is not None
        assert found is not None
        assert memory.find(ids) is kept, "it was used last but one"
        plans.append(trunk.plan(found.together[0].models))
    assert plans[-1] is plans[0]
    assert len(set(map(id, plans))) == len(selections)


class Greedy(torch.nn.Module):
    """A head for which no machine has the memory."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Take a petabyte."""
        return torch.empty(len(values), 1 << 48)


def test_short_memory_in_torch_is_a_memory_error(trained: Trained, memory: ModelMemory, batcher: Batcher) -> None:
    ((trunk, model, decoding),) = memory.get([trained.ids["mlp"]])
    image = ImageInput(IMAGES[0], decoding, trunk.views, KnownFiles())
    image.prepare()
    error = batcher.submit(Work(trunk, (replace(model, head=Greedy()),), [image])).exception()
    assert isinstance(error, MemoryError)
