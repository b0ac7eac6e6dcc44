"""A candidate backbone: measured on training images alone, through the cache of the next job."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.catalog.recipe import Recipe
from models.evaluation.metrics import evaluate, evaluate_multi_label
from models.features.engines import selection
from models.pipeline import candidate
from models.pipeline.candidate import draw_sample, measure_accuracy, measure_backbone
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from models.runtime.supervisor_callbacks import Context
from tests.support.small_job import CLASSES, Job, last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import BackboneFigures


def measure(job: Job) -> BackboneFigures:
    steps = measure_backbone(job.spec, job.pack, Context())
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as ended:
            assert shares == sorted(shares)
            assert shares[-1] == 1.0
            figures: BackboneFigures = ended.value[1]
            return figures


def test_a_job_starts_with_the_features_that_were_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "WORTH_SECONDS", math.inf)  # on a busy machine, another engine may seem faster
    job = small_job(tmp_path).change(recipe=Recipe())
    figures = measure(job)
    assert (figures.computed, figures.metric) == (figures.sample, "accuracy")
    finished = last(list(fine_tune(*job)))
    (tmp_path / "fresh").mkdir()
    fresh = last(list(fine_tune(*small_job(tmp_path / "fresh").change(recipe=Recipe()))))
    assert finished.cache["misses"] == fresh.cache["misses"] - figures.computed
    assert measure(job).computed == 0, "and it finds those of jobs"
    size = job.checkpoint.stat().st_size
    assert figures.checkpoint_bytes == pytest.approx(size, abs=20_000)
    assert figures.checkpoint_bytes < size


def test_equal_inputs_give_equal_figures_but_for_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "WORTH_SECONDS", math.inf)
    seconds = {"seconds", "seconds_per_image", "computed"}
    first, again = (measure(small_job(tmp_path)).model_dump(exclude=seconds) for _ in range(2))
    assert first == again
    assert first["value"] > first["constant"]
    assert len(first["replicates"]) == candidate.REPLICATES


def test_the_sample_is_of_training_images_whatever_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate, "SAMPLE", 20)
    pack = small_pack(tmp_path, classes=3, each=30)
    train, _, _ = split_pack(pack, 3, Recipe())
    sample = draw_sample(pack, train)
    assert len(sample.images) == 20
    assert set(sample.images) < set(train.images)
    assert (sample.labels == pack.labels[sample.images]).all()
    digests = pack.lossless_digests
    assert {digests[image] for image in sample.images} == set(sorted(digests[image] for image in train.images)[:20])


def test_the_accuracy_is_that_of_metrics() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(3, size=200)
    logits = random.normal(size=(200, 3)) + 2 * np.eye(3)[labels]
    found, expected = measure_accuracy(logits, labels, CLASSES), evaluate(logits, labels, CLASSES)
    assert found["value"] == pytest.approx(expected["accuracy"])
    assert found["balanced_accuracy"] == pytest.approx(expected["balanced_accuracy"])
    assert found["loss"] == pytest.approx(expected["loss"])
    assert found["constant"] == np.bincount(labels).max() / 200
    p = expected["accuracy"]
    assert np.std(found["replicates"]) == pytest.approx((p * (1 - p) / 200) ** 0.5, rel=0.15)


def test_of_several_labels_it_is_mean_average_precision() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((100, 3)) < [0.2, 0.5, 0.7]).astype(np.float32)
    logits = random.normal(size=(100, 3)) + targets
    found = measure_accuracy(logits, targets, CLASSES)
    assert (found["metric"], found["balanced_accuracy"]) == ("map", None)
    assert found["value"] == evaluate_multi_label(logits, targets, CLASSES)["map"]
    assert found["constant"] == pytest.approx(targets.mean())
    assert found["loss"] == pytest.approx(np.mean((logits + 0.5 - targets) ** 2))


def test_a_dataset_of_several_labels_is_measured(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    (tmp_path / "pairs").mkdir()
    pairs = small_pack(tmp_path / "pairs", classes=3, each=20, pairs=10)
    figures = measure(job._replace(pack=pairs))
    assert figures.metric == "map"
    assert figures.value > figures.constant
