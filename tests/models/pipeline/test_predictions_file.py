"""Predictions for single images: they are those of which the job's metrics are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from models.pipeline.spec import name_predictions
from service.jobs.predictions import PredictionFile
from tests.support.small_job import last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("pairs", [0, 4], ids=["one label", "several labels"])
def test_they_are_those_of_the_metrics(pairs: int, tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=1)
    if pairs:
        job = job._replace(pack=small_pack(tmp_path, classes=3, each=20, pairs=pairs))
    metrics = last(list(fine_tune(*job))).metrics
    file = PredictionFile.from_bytes(name_predictions(job.spec.checkpoint).read_bytes())
    assert file.is_multi_label is bool(pairs)
    _, *parts = split_pack(job.pack, 3, job.spec.recipe)
    for name, subset in zip(("validation", "test"), parts, strict=True):
        found = file.splits[name]
        assert list(found.places) == subset.images.tolist()
        assert np.mean(found.losses) == pytest.approx(metrics[name]["loss"], rel=1e-5)
        if not pairs:
            confusion = np.zeros((3, 3), int)
            np.add.at(confusion, (subset.labels, np.array(found.classes)[::3]), 1)
            assert confusion.tolist() == metrics[name]["confusion_matrix"]
