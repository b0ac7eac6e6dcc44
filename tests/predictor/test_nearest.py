"""Nearest training images: against features of plain timm, and why there are none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

import migrations
from graft.images import decode
from models.features.cache import FeatureCache
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from predictor import nearest
from predictor.dataset_images import DatasetImages
from predictor.memory import ModelMemory
from predictor.nearest import NearestImages, Training, TrainingFeatures, normalize, pool
from service.database import Database
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.images import coloured
from tests.support.predicting import running_api
from tests.support.small_job import CLASSES, small_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

    from tests.support.small_job import Job

CHOICES: dict[str, dict[str, object]] = {
    "all": {},
    "in half precision": {"precision": "bfloat16"},
    "top": {"cut": "top"},
    "uncached": {"cache": "off", "image_size": 64},
}


class Deployment(NamedTuple):
    """An API before a predictor, and checkpoints with their jobs."""

    client: TestClient
    settings: Settings
    checkpoints: dict[str, str]
    jobs: dict[str, Job]

    def ask(self, name: str, image: bytes, **query: int) -> dict[str, Any]:
        """Ask for the nearest training images."""
        response = self.client.post(f"/v1/checkpoints/{self.checkpoints[name]}/nearest", content=image, params=query)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Run a predictor on small checkpoints that share a feature cache with their jobs."""
    folder = tmp_path_factory.mktemp("nearest")
    (folder / "data").mkdir()
    settings = Settings(data=folder / "data", cache_dir=folder / "cache", device="cpu")
    migrations.upgrade(settings.database)
    database = Database(settings.database)
    add_job(database)
    checkpoints, jobs = {}, {}
    for name, choices in CHOICES.items():
        jobs[name] = small_job(folder, name.replace(" ", "_"), **{"epochs": 1, **choices})
        list(fine_tune(*jobs[name]))
        checkpoints[name] = store_and_publish(database, jobs[name].checkpoint).id
    for file in ("small.pack", "small.index"):
        with Storage(settings.storage).writing(file) as stored:
            stored.write((folder / file).read_bytes())
    with database.writing() as session:
        row = session.get_one(Dataset, "ds_1")
        row.pack, row.index = "small.pack", "small.index"
        row.classes = [{"name": name, "count": 30} for name in CLASSES]
    database.close()
    with running_api(settings) as client:
        yield Deployment(client, settings, checkpoints, jobs)


@pytest.mark.parametrize("name", ["all", "in half precision", "top"])
def test_a_training_image_is_nearest_to_itself(deployment: Deployment, name: str) -> None:
    job = deployment.jobs[name]
    train, *_ = split_pack(job.pack, 3, job.spec.recipe)
    of_training = {job.pack.names[image] for image in train.images}
    image = int(train.images[5])
    found = deployment.ask(name, job.pack.read_file(image), count=4)
    assert (found["compared"], found["training_images"], found["reason"]) == (
        len(train.images),
        len(train.images),
        None,
    )
    first = found["data"][0]
    assert first["similarity"] == pytest.approx(1, abs=2e-3)
    digest = job.pack.digests[image].tobytes().hex()
    assert (first["file"], first["digest"]) == (job.pack.names[image], digest)
    assert first["labels"] == [CLASSES[int(train.labels[5])]]
    assert first["url"] == f"/v1/datasets/ds_1/images/{digest}"
    assert {each["file"] for each in found["data"]} <= of_training
    similarities = [each["similarity"] for each in found["data"]]
    assert similarities == sorted(similarities, reverse=True)
    assert len(deployment.ask(name, job.pack.read_file(image))["data"]) == 6


def test_similarities_are_those_of_features_in_plain_timm(deployment: Deployment) -> None:
    job, image = deployment.jobs["all"], coloured(1, 999)
    network = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(job.checkpoint)).eval()
    with safe_open(job.checkpoint, "pt") as file:
        config = json.loads(file.metadata()["pretrained_cfg"])
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config))
    train, *_ = split_pack(job.pack, 3, job.spec.recipe)
    files = [job.pack.read_file(place) for place in train.images]
    with torch.inference_mode():
        shown = torch.stack([transform(decode(file, job.pack.decoding)) for file in [image, *files]])
        features = network.forward_head(network.forward_features(shown), pre_logits=True)
    unit = torch.nn.functional.normalize(features).numpy()
    by_file = dict(zip((job.pack.names[place] for place in train.images), unit[1:] @ unit[0], strict=True))
    found = deployment.ask("all", image, count=20)["data"]
    assert len(found) == 20
    for each in found:
        assert each["similarity"] == pytest.approx(by_file[each["file"]], abs=0.02)
    twentieth = sorted(by_file.values())[-20]
    assert min(by_file[each["file"]] for each in found) >= twentieth - 0.02


def test_without_features_in_the_cache_the_reason_is_told(deployment: Deployment) -> None:
    found = deployment.ask("uncached", coloured(0, 7))
    assert (found["data"], found["compared"]) == ([], 0)
    assert "feature cache" in found["reason"]
    assert found["training_images"] > 0


def test_features_that_were_missing_are_found_once_a_job_has_cached_them(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None at first, then some, then all, which stay; and looking for them makes no folder in the cache."""
    monkeypatch.setattr(nearest, "READ_AGAIN_SECONDS", 0.0)
    settings = deployment.settings.model_copy(update={"cache_dir": tmp_path / "cache"})
    database, checkpoint, pack = Database(settings.database), deployment.checkpoints["all"], deployment.jobs["all"].pack
    ((trunk, _, _),) = ModelMemory(database, settings).get([checkpoint])
    images, training = NearestImages(database, DatasetImages(database, settings)), Training.read(database, checkpoint)
    assert training is not None
    train, *_ = split_pack(pack, 3, training)

    def count_compared() -> int:
        compared: int = images.find(checkpoint, trunk, np.ones(store.shape, np.float32), 3)["compared"]
        return compared

    store = trunk.open_training_rows(training.engine, training.device)
    assert count_compared() == 0
    assert not list(settings.cache.glob("*/key.json"))
    for part, known in ((train.images[:7], 7), (train.images[7:], len(train.images))):
        with store.lock():
            store.append(pack.digests[part], 0, np.ones((len(part), *store.shape), np.float16), 0.0)
        assert count_compared() == known
    FeatureCache(settings.cache).empty()
    assert count_compared() == len(train.images)
    database.close()


def test_of_more_images_than_memory_allows_evenly_chosen_ones_are_compared() -> None:
    chosen = nearest._choose_evenly(10, 4)  # which no API shows
    assert chosen.tolist() == [0, 3, 6, 9]
    assert nearest._choose_evenly(3, 4).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(5, 3, 3), (8, 7, 7), (7, 7, 7), (96, 14, 7), (4, 3, 5), (64, 1, 1), (3, 6, 3)]
)
def test_rows_with_positions_are_averaged_over_them(channels: int, height: int, width: int) -> None:
    """Channels first or last, of a square input or another; of as many channels as rows, they come first."""
    ratio = height / width
    rows = np.random.default_rng(0).normal(size=(2, channels, height, width)).astype(np.float16)
    expected = rows.astype(np.float32).mean((2, 3))
    np.testing.assert_allclose(pool(rows, ratio), expected, rtol=1e-5)
    if len({channels, height, width}) > 1 and height * width > 1:
        np.testing.assert_allclose(pool(rows.transpose(0, 2, 3, 1), ratio), expected, rtol=1e-5)
    tokens = rows.reshape(2, channels, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(pool(tokens, ratio), expected, rtol=1e-5)
    np.testing.assert_allclose(pool(rows[:, :, 0, 0], ratio), rows[:, :, 0, 0].astype(np.float32))


def test_of_inputs_whose_sides_differ_rounding_of_positions_does_not_matter() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 6, 4, 7)).astype(np.float16)  # of 100 x 200 pixels by stride 30
    np.testing.assert_allclose(pool(rows, 0.5), rows.astype(np.float32).mean((2, 3)), rtol=1e-5)


def test_the_greatest_cosines_are_found_in_any_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 4 * 16 * 7)
    rows = normalize(np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32))
    images, similarities = TrainingFeatures(np.arange(100, 150), rows.astype(np.float16), 50).find(3 * rows[20], 5)
    expected = np.argsort(-(rows @ rows[20]))[:5]
    assert images.tolist() == (expected + 100).tolist()
    assert similarities == pytest.approx((rows @ rows[20])[expected], abs=2e-3)


def test_what_is_wrong_is_named(deployment: Deployment) -> None:
    address, image = f"/v1/checkpoints/{deployment.checkpoints['all']}/nearest", coloured(0, 7)

    def code(content: bytes, **query: str) -> tuple[int, str]:
        response = deployment.client.post(address, content=content, params=query)
        return response.status_code, response.json()["code"]

    assert code(b"no image") == (422, "not_an_image")
    assert code(b"") == (422, "no_image")
    for count in ("0", "21", "x"):
        assert code(image, count=count) == (422, "invalid_request")
    form = deployment.client.post(address, files=[("file", ("a.png", image)), ("file", ("b.png", image))])
    assert (form.status_code, form.json()["code"]) == (422, "too_many_images")
    unknown = deployment.client.post("/v1/models/nothing/nearest", content=image)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")
