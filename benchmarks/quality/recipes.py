"""Recipes of Graft that are compared, and the fine-tuning by one on a cell."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.catalog.recipe import Recipe
from models.messages import Finished
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec, name_predictions
from service.jobs.predictions import PredictionFile

if TYPE_CHECKING:
    from benchmarks.quality.cell import Cell

FROM_PROBE: dict[str, Any] = {"schedule": {"kind": "cosine", "warmup_epochs": 1}, "averaging": {}}
RECIPES: dict[str, dict[str, Any]] = {
    "empty": {},
    "depths": {"pooling": "depths"},
    "top": {"cut": {"kind": "top", "stages": 1}},
    "top_from_probe": {"cut": {"kind": "top", "stages": 1, "probe": True}, **FROM_PROBE},
    "whole": {"cut": "none"},
    "whole_from_probe": {"cut": {"kind": "none", "probe": True}, **FROM_PROBE},
    "balanced": {"quality": "balanced"},
    "best": {"quality": "best"},
}
"""Recipes by the name of their method."""


def run_recipe(cell: Cell, recipe: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, str]:
    """Fine-tune with an empty feature cache; returns the confidence of each test image, if it is right, and a note."""
    images = cell.images
    given = {**recipe, "seed": cell.seed, "image_size": cell.image_size, "time_budget_seconds": cell.budget}
    with tempfile.TemporaryDirectory(prefix="graft-quality-") as name:
        folder = Path(name)
        spec = TrainingSpec(
            job="job_benchmark",
            storage=folder.as_uri(),
            dataset=DatasetSpec(pack="", index="", classes=images.classes, digest="0" * 64),
            backbone=BackboneSpec(
                name=cell.backbone.name, folder=cell.backbone.folder if cell.backbone.is_imported else None
            ),
            local_backbones=cell.backbone.folder.parent,
            recipe=Recipe.model_validate(given),
            device="auto",
            cache=folder / "cache",
            cache_bytes=20 << 30,
            checkpoint=folder / "best.safetensors",
        )
        *_, ended = fine_tune(spec, images.pack)
        assert isinstance(ended, Finished)
        content = name_predictions(spec.checkpoint).read_bytes()
    confidences, right = read_test_predictions(content, images.labels)
    return confidences, right, f"epoch {ended.epoch}, {ended.stop_reason}"


def read_test_predictions(content: bytes, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the confidences of the test images (n,), and whether each is right, from a file of predictions."""
    file = PredictionFile.from_bytes(content)
    test = file.splits["test"]
    confidences = np.frombuffer(test.probabilities, np.float16)[:: file.kept].astype(float)
    right = np.array(test.classes[:: file.kept]) == labels[np.array(test.places)]
    return confidences, right
