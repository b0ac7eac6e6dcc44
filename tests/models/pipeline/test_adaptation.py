"""Fine-tuning with adapted BatchNorm: statistics of the training images are delivered, and the cache stays right."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from models.catalog.recipe import Recipe
from models.messages import Event, Noted, RecipeResolved
from models.pipeline.fine_tune import fine_tune
from tests.support.small_job import last, small_job

if TYPE_CHECKING:
    from pathlib import Path

CUTS: dict[str, dict[str, Any]] = {"top": {"kind": "top", "stages": 2}, "none": {"kind": "none"}}
STATISTICS = ("running_mean", "running_var")


def noted(events: list[Event], kind: str) -> list[dict[str, Any]]:
    """The data of the notes of a kind."""
    return [event.data for event in events if isinstance(event, Noted) and event.kind == kind]


@pytest.mark.parametrize("cut", CUTS)
def test_statistics_above_the_cut_are_others_and_stay_as_they_are_in_training(cut: str, tmp_path: Path) -> None:
    delivered = []
    for epochs in (1, 2):
        choices = {"cut": {**CUTS[cut], "batch_norm": "adapted"}, "epochs": epochs, "early_stopping": None}
        job = small_job(tmp_path, f"after-{epochs}", **choices)
        (data,) = noted(list(fine_tune(*job)), "batch_norm_adapted")
        delivered.append(load_file(job.checkpoint))
    before = load_file(tmp_path / "backbones/small/model.safetensors")
    statistics = {name for name in before if name.endswith(STATISTICS)}
    changed = {name for name in statistics if not torch.equal(before[name], delivered[0][name])}
    assert changed == {name for name in statistics if cut == "none" or name.startswith(("layer3.", "layer4."))}
    assert all(torch.equal(delivered[0][name], delivered[1][name]) for name in statistics)
    assert data == {"layers": len(changed) // 2, "images": 66}
    weights = {f"{name.rpartition('.')[0]}.{own}" for name in statistics for own in ("weight", "bias")}
    assert all(torch.equal(delivered[1][name], before[name]) for name in weights)


@pytest.mark.parametrize("cut", CUTS)
def test_the_head_alone_is_trained_on_the_adapted_backbone(cut: str, tmp_path: Path) -> None:
    """And what it caches is no other job's: the same job of a head alone gives the same bytes after it."""
    head = small_job(tmp_path / "fresh", "head", epochs="auto", engine="eager")
    list(fine_tune(*head))
    choices = {"cut": {**CUTS[cut], "batch_norm": "adapted", "probe": True}, "epochs": 2}
    job = small_job(tmp_path, "stages", **choices)
    events = list(fine_tune(*job))
    probe = noted(events, "probe_trained")[0]
    start = last(events).metrics["baselines"]["probe"]
    assert start["validation_accuracy"] == probe["validation_accuracy"]
    assert start["validation_loss"] == pytest.approx(probe["validation_loss"], abs=0.01)
    again = small_job(tmp_path, "head", epochs="auto", engine="eager")
    list(fine_tune(*again))
    assert again.checkpoint.read_bytes() == head.checkpoint.read_bytes()


def test_a_job_that_starts_anew_from_its_resolved_recipe_ends_with_the_same_bytes(tmp_path: Path) -> None:
    job = small_job(tmp_path, cut={"kind": "top", "batch_norm": "adapted", "probe": True}, epochs=2)
    events = list(fine_tune(*job))
    expected = job.checkpoint.read_bytes()
    first, *_ = (event.recipe for event in events if isinstance(event, RecipeResolved))
    shutil.rmtree(tmp_path / "cache")
    list(fine_tune(*job.change(recipe=Recipe.model_validate(first))))
    assert job.checkpoint.read_bytes() == expected
