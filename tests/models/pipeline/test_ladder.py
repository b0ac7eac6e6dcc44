"""Ladder of candidates: the best on the validation images is delivered, however often the job is cut off."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.catalog import quality
from models.catalog.recipe import Recipe
from models.messages import (
    Diagnosed,
    EpochEnded,
    Finished,
    Noted,
    PhaseStarted,
    Progressed,
    ProgressSaved,
    RecipeResolved,
)
from models.pipeline import ladder
from models.pipeline.fine_tune import fine_tune
from models.pipeline.ladder import is_improvement, judge
from models.runtime.supervisor_callbacks import Context
from tests.support.ladder import cut_off_anywhere, doubtful_job, find_best, list_tried, timeless
from tests.support.small_job import Job, last, small_job

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event

PROBE = {"epochs": 3, "early_stopping": None}
WHOLE = {**quality.BALANCED["whole_network"], "epochs": 2}
SLOWER = {**quality.BEST["whole_network_and_batch_norm"], "epochs": 2}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of quality `balanced`."""
    return doubtful_job(tmp_path)


@pytest.fixture(autouse=True)
def short_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that train for a few epochs."""
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "whole_network": WHOLE, "slower": SLOWER})


def test_the_best_candidate_is_delivered_as_a_job_by_its_recipe_alone_delivers_it(job: Job) -> None:
    events = list(fine_tune(*job))
    first, *others = list_tried(events)
    assert first.name == "probe"
    assert first.is_better
    assert [one.name for one in others] == ["whole_network", "slower"]
    best = find_best(events)
    ended = last(events)
    assert ended.metrics["validation"]["accuracy"] == best.validation_accuracy
    assert ended.metrics["validation"]["loss"] == pytest.approx(best.validation_loss)
    assert best.checkpoint_bytes == pytest.approx(job.checkpoint.stat().st_size, abs=20_000)
    *_, resolved = (event.recipe for event in events if isinstance(event, RecipeResolved))
    assert resolved == best.recipe
    assert resolved["quality"] == "fast"
    ladder_bytes = job.checkpoint.read_bytes()
    again = list(fine_tune(*job.change(recipe=Recipe.model_validate(best.recipe))))
    assert last(again).metrics == ended.metrics
    assert job.checkpoint.read_bytes() == ladder_bytes
    epochs = [[event.epoch for event in heard if isinstance(event, EpochEnded)] for heard in (events, again)]
    assert epochs[0] == epochs[1] == list(range(1, (best.epochs or 0) + 1))


def test_each_candidate_of_the_best_quality_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {name: {**changes, "epochs": 2, "early_stopping": None} for name, changes in quality.BEST.items()}
    monkeypatch.setattr(quality, "BEST", short)
    events = list(fine_tune(*doubtful_job(tmp_path, side=40).change(recipe=Recipe(quality="best"))))
    assert [(one.name, one.reason) for one in list_tried(events)] == [(name, None) for name in quality.BEST]


def test_its_events_are_those_of_one_job(job: Job) -> None:
    events = list(fine_tune(*job))
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    assert phases == ["preparing", "caching", "training", "evaluating", "storing"]
    percents = [event.percent for event in events if isinstance(event, Progressed)]
    assert percents == sorted(percents)
    notes = [event for event in events if isinstance(event, Noted)]
    assert {note.data.get("candidate") for note in notes} >= {"probe", "whole_network", "slower"}
    assert notes[-1].kind == "candidate_delivered"
    assert notes[-1].data["name"] == find_best(events).name
    delivered = f"{find_best(events).name} of local/small is delivered, the best of 3 candidates on the validation"
    assert notes[-1].message.startswith(delivered)
    (diagnosed,) = (event for event in events if isinstance(event, Diagnosed))
    kinds = {finding["kind"] for finding in diagnosed.diagnosis["findings"]} | {note.kind for note in notes}
    assert "head_not_enough" not in kinds, "its advice is what the job does"


def test_cut_off_anywhere_it_decides_nothing_again_and_ends_with_the_same_bytes(job: Job) -> None:
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    snapshots = [event for event in whole if isinstance(event, ProgressSaved) and event.snapshot]
    assert {saved.epoch for saved in snapshots} == {0}, "epochs are recorded at the end"
    draw = random.Random(1)
    for after in {len(snapshots), *draw.sample(range(1, len(snapshots)), 1)}:
        heard, rest = cut_off_anywhere(job, after)
        after_it = list(fine_tune(*rest))
        assert job.checkpoint.read_bytes() == expected, f"cut off at snapshot {after} of {len(snapshots)}"
        assert last(after_it).metrics == last(whole).metrics
        decided = [timeless(one) for one in list_tried(heard) + list_tried(after_it)]
        assert decided == [timeless(one) for one in list_tried(whole)]


@pytest.mark.extended
def test_a_retry_after_the_decision_delivers_it_too(job: Job) -> None:
    """The row then has the recipe of the best candidate, whose quality is fast."""
    events = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    *_, saved = (event.snapshot for event in events if isinstance(event, ProgressSaved) and event.snapshot)
    *_, resolved = (event.recipe for event in events if isinstance(event, RecipeResolved))
    rest = job.change(recipe=Recipe.model_validate(resolved), snapshot=job.checkpoint.with_name(saved))
    job.checkpoint.unlink()
    assert last(list(fine_tune(*rest))).metrics == last(events).metrics
    assert job.checkpoint.read_bytes() == expected


def test_what_does_not_fit_the_time_is_left_out_and_says_so(job: Job) -> None:
    recipe = Recipe(quality="balanced", image_size=32, time_budget_seconds=1e-3)
    events = list(fine_tune(*job.change(recipe=recipe)))
    first, *others = list_tried(events)
    assert first.reason is None
    assert {one.reason for one in others} == {"the time budget is used up"}
    assert last(events).stop_reason == "time_budget"
    assert find_best(events).name == "probe"


def test_fewer_epochs_are_planned_where_time_is_short(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "whole_network": {**WHOLE, "epochs": 20}})
    monkeypatch.setattr(ladder, "measure_epoch_seconds", lambda inputs: 1000.0)
    for budget, expected in ((6500.0, 5), (5900.0, None)):
        recipe = Recipe(quality="balanced", image_size=32, time_budget_seconds=budget)
        _, whole = list_tried(list(fine_tune(*job.change(recipe=recipe))))
        assert whole.recipe["epochs"] == (expected or 20)
        if expected is None:
            assert whole.reason is not None
            assert whole.reason.startswith("5 epochs would take about 5,000 s, and 5,")


def test_a_stop_delivers_the_best_so_far(job: Job) -> None:
    events: list[Event] = []
    context = Context(stop_requested=lambda: bool(list_tried(events)))
    events.extend(fine_tune(*job._replace(context=context)))
    assert [one.reason for one in list_tried(events)] == [None, "the job was stopped", "the job was stopped"]
    ended = events[-1]
    assert isinstance(ended, Finished)
    assert ended.stop_reason == "stopped"


def test_a_stop_while_an_epoch_is_timed_leaves_the_candidate_out(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    def measure(inputs: object) -> float:
        stopped.append(inputs)
        return 1.0

    monkeypatch.setattr(ladder, "measure_epoch_seconds", measure)
    context = Context(stop_requested=lambda: bool(stopped))
    events = list(fine_tune(*job._replace(context=context)))
    assert [one.reason for one in list_tried(events)] == [None, "the job was stopped", "the job was stopped"]
    (note,) = (one.message for one in events if isinstance(one, Noted) and one.kind == "candidate_delivered")
    assert note.startswith("probe of local/small is delivered, the only one tried: ")


def test_a_quality_is_not_advised_to_a_job_that_has_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE})
    kinds = []
    for recipe in (job.spec.recipe, Recipe.model_validate({"image_size": 32, **PROBE})):
        events = list(fine_tune(*job.change(recipe=recipe)))
        *_, diagnosed = (event for event in events if isinstance(event, Diagnosed))
        findings = {finding["kind"] for finding in diagnosed.diagnosis["findings"]}
        kinds.append("head_not_enough" in findings)
        assert any(isinstance(event, Noted) and event.kind == "head_not_enough" for event in events) is kinds[-1]
    assert kinds == [False, True]


def test_a_candidate_that_falls_back_on_its_probe_is_no_better_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = {"kind": "none", "probe": True, "interpolate": False}
    worse = {"cut": cut, "optimizer": {"kind": "sgd", "lr": 30.0}, "epochs": 1}
    monkeypatch.setattr(quality, "BALANCED", {"probe": {}, "from_probe": worse})
    monkeypatch.setattr(ladder, "is_improvement", lambda *_: True)
    events = list(fine_tune(*job))
    assert any(isinstance(event, Noted) and event.kind == "baseline_delivered" for event in events)
    assert [one.is_better for one in list_tried(events)] == [True, False]


@pytest.mark.parametrize("enough", [True, False])
def test_no_more_is_tried_where_enough_images_show_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, enough: bool
) -> None:
    job = small_job(tmp_path).change(recipe=Recipe(quality="balanced", image_size=32))
    monkeypatch.setattr(quality, "BALANCED", {"probe": {}, "whole_network": WHOLE})
    if enough:
        monkeypatch.setattr(ladder, "CONVINCING_IMAGES", 1)
    events = list(fine_tune(*job))
    assert last(events).metrics["validation"]["accuracy"] == 1.0
    probe, whole = list_tried(events)
    assert probe.reason is None
    assert (whole.reason is None) != enough
    if whole.reason is None:
        return
    assert whole.reason.startswith("the best so far makes no mistake")
    assert whole.seconds < probe.seconds


def test_a_candidate_that_diverges_is_left_out(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**WHOLE, "optimizer": {"kind": "sgd", "lr": 1e20}}
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "whole_network": broken})
    events = list(fine_tune(*job))
    probe, whole = list_tried(events)
    assert probe.reason is None
    assert whole.reason is not None
    assert "learning rate" in whole.reason
    assert find_best(events).name == "probe"
    assert last(events).metrics["validation"]["accuracy"] == probe.validation_accuracy


@pytest.mark.parametrize(
    ("losses", "misses", "expected"),
    [
        ([0.4, 0.4, 0.4, 0.4], [0, 0, 0, 0], True),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0], False),
        ([0.4, 0.4, 0.4, 0.4], [1, 0, 0, 0], True),
        ([0.4, 0.4, 0.4, 0.4], [1, 1, 1, 0], False),
        ([math.inf, 0.1, 0.1, 0.1], [0, 0, 0, 0], False),
    ],
    ids=["better", "equal", "one miss more is noise", "three misses more are not", "not finite"],
)
def test_the_smaller_loss_wins_unless_more_is_missed(losses: list[float], misses: list[float], expected: bool) -> None:
    best = np.full(4, 0.5), np.zeros(4)
    assert is_improvement(np.array(losses), np.array(misses), *best) is expected


def test_classes_that_the_recipe_weights_more_count_more() -> None:
    weights = np.array([1.0, 3.0])
    losses, misses = judge(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), weights)
    expected = np.log1p(np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(losses, weights * expected)
    np.testing.assert_array_equal(misses, [0.0, 3.0])
    losses, misses = judge(np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), weights)
    right, wrong = expected
    np.testing.assert_allclose(losses, [(right + right) / 2, (wrong + 3 * wrong) / 2])
    np.testing.assert_array_equal(misses, [0.0, (1 + 3) / 2])
