"""Fine-tuning that starts from its probe: the head alone is what `cut: all` gives, and nothing worse is delivered."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from models.catalog.recipe import Recipe
from models.messages import EpochEnded, Event, Noted, RecipeResolved
from models.pipeline.fine_tune import fine_tune
from models.training.interpolation import SHARES, mix
from tests.support.small_job import cut_off, last, small_job

if TYPE_CHECKING:
    from pathlib import Path

TOP, WHOLE = CUTS = [{"kind": "top", "probe": True}, {"kind": "none", "probe": True}]


def noted(events: list[Event], kind: str) -> dict[str, Any]:
    """The data of the one note of a kind."""
    (found,) = (event.data for event in events if isinstance(event, Noted) and event.kind == kind)
    return found


@pytest.mark.parametrize("cut", CUTS)
def test_the_start_is_what_a_job_of_the_head_alone_delivers(cut: dict[str, Any], tmp_path: Path) -> None:
    own = last(list(fine_tune(*small_job(tmp_path, "head", epochs="auto", engine="eager")))).metrics
    job = small_job(tmp_path, "stages", cut=cut, epochs=1, engine="auto" if cut["kind"] == "none" else "eager")
    events = list(fine_tune(*job))
    reached = own["validation"]
    assert noted(events, "probe_trained")["validation_accuracy"] == reached["accuracy"]
    start = last(events).metrics["baselines"]["probe"]
    assert start["validation_accuracy"] == reached["accuracy"]
    assert start["validation_loss"] == pytest.approx(noted(events, "probe_trained")["validation_loss"], abs=0.01)
    assert last(events).metrics["initial"]["validation_accuracy"] == reached["accuracy"]


@pytest.mark.parametrize("cut", CUTS)
def test_training_that_does_harm_delivers_the_probe(cut: dict[str, Any], tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, cut=cut, epochs=2, optimizer={"kind": "sgd", "lr": 0.5})))
    metrics = last(events).metrics
    assert metrics["validation"]["accuracy"] >= metrics["baselines"]["probe"]["validation_accuracy"]


def test_a_job_that_starts_anew_from_its_resolved_recipe_ends_with_the_same_bytes(tmp_path: Path) -> None:
    job = small_job(tmp_path, cut=WHOLE, epochs=2)
    events = list(fine_tune(*job))
    expected = job.checkpoint.read_bytes()
    first, *_ = (event.recipe for event in events if isinstance(event, RecipeResolved))
    list(fine_tune(*job.change(recipe=Recipe.model_validate(first))))
    assert job.checkpoint.read_bytes() == expected


@pytest.mark.parametrize("lr", [0.0005, 0.02], ids=["training that helps", "training that does not"])
def test_what_is_delivered_lies_on_the_line_from_the_probe_to_the_best_epoch(lr: float, tmp_path: Path) -> None:
    """The backbone's weights start where the hub's are, so that the line is known."""
    choices: dict[str, Any] = {"epochs": 1, "optimizer": {"lr": lr}}
    ends = small_job(tmp_path, "end", **choices, early_stopping=None, cut=WHOLE)
    last_epoch = list(fine_tune(*ends))
    assert not any(isinstance(event, Noted) and event.kind == "interpolated" for event in last_epoch)
    job = small_job(tmp_path, "between", **choices, cut=WHOLE)
    metrics = last(list(fine_tune(*job))).metrics
    start = load_file(tmp_path / "backbones/small/model.safetensors")
    end, between = load_file(ends.checkpoint), load_file(job.checkpoint)
    names = [name for name in start if not name.startswith("fc.")]
    assert any(not torch.equal(start[name], end[name]) for name in names), "stages were trained"
    expected = mix(
        {name: start[name] for name in names}, {name: end[name] for name in names}, metrics["interpolation"] or 0.0
    )
    for name in names:
        assert torch.allclose(between[name], expected[name], atol=1e-6), name


def test_a_part_of_the_way_is_delivered_where_the_whole_does_harm(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, cut=WHOLE, epochs=1, seed=1, optimizer={"lr": 0.02})))
    metrics, (epoch,) = last(events).metrics, [event for event in events if isinstance(event, EpochEnded)]
    reached = metrics["baselines"]["probe"]["validation_accuracy"]
    assert epoch.validation_accuracy < reached, "the epoch by itself is worse than the probe"
    assert (metrics["delivered"], metrics["best_epoch"]) == ("epoch", 1)
    assert metrics["interpolation"] in SHARES
    assert metrics["validation"]["accuracy"] >= reached
    assert noted(events, "interpolated")["share"] == metrics["interpolation"]


def test_a_training_of_stages_that_is_resumed_computes_no_features_of_the_head_alone(tmp_path: Path) -> None:
    job = small_job(tmp_path, cut=WHOLE, epochs=2)
    _, rest = cut_off(job, 1)
    shutil.rmtree(tmp_path / "cache")
    list(fine_tune(*rest))
    assert list((tmp_path / "cache").rglob("*.index")) == []


def test_points_of_the_line_are_start_plus_share_of_the_way() -> None:
    start = {"weight": torch.tensor([0.0, 2.0]), "steps": torch.tensor(3)}
    end = {"weight": torch.tensor([4.0, 0.0]), "steps": torch.tensor(9)}
    mixed = mix(start, end, 0.25)
    assert mixed["weight"].tolist() == [1.0, 1.5]
    assert mixed["steps"].item() == 9


def test_epochs_are_those_of_the_stages_alone(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path, cut=TOP, epochs=3, early_stopping=None)))
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2, 3]
    kinds = [event.kind for event in events if isinstance(event, Noted)]
    assert "interpolated" not in kinds, "without early stopping the last epoch is asked for"
    assert kinds.index("probe_trained") > kinds.index("prepared")
