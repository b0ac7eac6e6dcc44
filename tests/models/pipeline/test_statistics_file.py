"""Prediction statistics of a whole fine-tuning: they fit the delivered file in plain timm, whatever was trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

from graft.images import decode
from models.evaluation import conformal
from models.evaluation.novelty import StackedStatistics, project
from models.evaluation.prediction_statistics import PredictionStatistics
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from models.pipeline.spec import name_statistics
from tests.support.small_job import last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "choices", [{}, {"cut": "top"}, {"cache": "off"}], ids=["head alone", "top stages too", "without a cache"]
)
@pytest.mark.parametrize("pairs", [0, 4], ids=["one label", "several labels"])
def test_they_are_those_of_the_delivered_file(choices: dict[str, object], pairs: int, tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=2, **choices)
    if pairs:
        job = job._replace(pack=small_pack(tmp_path, classes=3, each=20, pairs=pairs))
    metrics = last(list(fine_tune(*job))).metrics
    statistics = PredictionStatistics.from_bytes(name_statistics(job.checkpoint).read_bytes())
    with safe_open(job.checkpoint, "pt") as file:
        metadata = file.metadata()
    network = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(job.checkpoint)).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(json.loads(metadata["pretrained_cfg"])))
    _, held_out, test = split_pack(job.pack, 3, job.spec.recipe)

    def compute(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown = torch.stack([transform(decode(job.pack.read_file(image), job.pack.decoding)) for image in images])
        with torch.inference_mode():
            values = network.forward_features(shown)
            return network.forward_head(values).numpy(), network.forward_head(values, pre_logits=True).numpy()

    logits, features = compute(held_out.images)
    assert statistics.is_multi_label is bool(pairs)
    assert statistics.held_out == len(held_out.images)
    assert statistics.temperature == float(metadata["temperature"])
    scores = conformal.compute_scores(logits * statistics.temperature, held_out.labels)
    assert statistics.scores == pytest.approx(np.sort(scores), rel=0.02, abs=2e-3)
    novelty = StackedStatistics([statistics.classes])
    assert novelty.measure(project(features)).max() == pytest.approx(1.0, rel=0.02), "the strangest sets the threshold"
    logits, _ = compute(test.images)
    rank = len(held_out.images) / (len(held_out.images) + 1)
    assert statistics.make_sets(logits, rank).any()
    one_image = 1 / len(test.images)
    for row in metrics["test"]["sets"]:
        sizes = statistics.make_sets(logits, row["coverage"]).sum(1)
        assert row["mean_size"] == pytest.approx(sizes.mean(), abs=one_image)
        assert row["empty"] == pytest.approx((sizes == 0).mean(), abs=one_image)
    assert statistics.make_sets(logits, (1 + rank) / 2).all(), "so few images can promise no more"
