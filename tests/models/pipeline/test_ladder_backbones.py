"""Ladder of several backbones: the better half goes on, one that fails is left out, a crash changes nothing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from models.backbones.errors import NoBackboneUsable
from models.catalog import quality
from models.catalog.recipe import Recipe
from models.messages import Noted, Progressed
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec
from models.runtime.supervisor_callbacks import Context
from tests.support.ladder import cut_off_anywhere, doubtful_job, find_best, list_tried, snapshots_within, timeless
from tests.support.small_backbone import write_backbone
from tests.support.small_job import Job, last

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event

PROBE = {"epochs": 3, "early_stopping": None}
WHOLE = {**quality.BALANCED["whole_network"], "epochs": 2}


@pytest.fixture(autouse=True)
def short_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that train for a few epochs."""
    monkeypatch.setattr(quality, "BALANCED", {"probe": PROBE, "whole_network": WHOLE})


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of quality `balanced` with two backbones."""
    made = doubtful_job(tmp_path)
    write_backbone(tmp_path / "backbones" / "other", "test_resnet")
    config = tmp_path / "backbones" / "other" / "config.json"
    read = json.loads(config.read_text())
    read["pretrained_cfg"]["mean"] = [0.9, 0.9, 0.9]
    config.write_text(json.dumps(read))
    return name_backbones(made, "local/small", "local/other")


def name_backbones(job: Job, *names: str) -> Job:
    """The job with these backbones."""
    named = tuple(BackboneSpec(name=name) for name in names)
    return job.change(backbone=named[0], backbones=named)


def test_each_backbone_is_probed_and_the_best_alone_goes_on(job: Job) -> None:
    events = list(fine_tune(*job))
    *probes, whole = list_tried(events)
    assert [(one.name, one.backbone) for one in probes] == [("probe", "local/small"), ("probe", "local/other")]
    losses = [one.validation_loss for one in probes]
    assert losses[0] != losses[1]
    assert whole.name == "whole_network"
    assert whole.backbone == [one.backbone for one in probes if one.is_better][-1]
    told = dict.fromkeys(event.candidate for event in events if isinstance(event, Progressed))
    assert list(told) == [f"{one.name} of {one.backbone}" for one in (*probes, whole)]
    percents = [event.percent for event in events if isinstance(event, Progressed)]
    assert percents == sorted(percents)
    notes = [event for event in events if isinstance(event, Noted)]
    assert {(one.data.get("candidate"), one.data.get("backbone")) for one in notes if one.kind == "prepared"} == {
        (one.name, one.backbone) for one in (*probes, whole)
    }
    best = find_best(events)
    assert notes[-1].message.startswith(f"{best.name} of {best.backbone} is delivered, the best of 3 candidates")


def test_a_head_in_closed_form_on_another_backbone_may_be_better(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "BALANCED", {"probe": {"optimizer": {"kind": "sgd", "lr": 30.0}, "epochs": 1}})
    monkeypatch.setattr("models.pipeline.ladder.is_improvement", lambda *_: True)
    events = list(fine_tune(*job))
    kinds = [event.kind for event in events if isinstance(event, Noted)]
    assert kinds.count("baseline_delivered") == 2
    assert [one.is_better for one in list_tried(events)] == [True, True]


def test_what_is_delivered_is_what_a_job_of_its_backbone_by_its_recipe_delivers(job: Job) -> None:
    events = list(fine_tune(*job))
    delivered, best = job.checkpoint.read_bytes(), find_best(events)
    alone = job.change(
        backbone=BackboneSpec(name=best.backbone), backbones=(), recipe=Recipe.model_validate(best.recipe)
    )
    assert last(list(fine_tune(*alone))).metrics == last(events).metrics
    assert job.checkpoint.read_bytes() == delivered


@pytest.mark.parametrize("names", [("local/other", "local/small"), ("local/small", "local/other")])
def test_cut_off_in_any_candidate_it_ends_with_the_same_bytes(job: Job, names: tuple[str, str]) -> None:
    job = name_backbones(job, *names)
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    for after in snapshots_within(whole):
        heard, rest = cut_off_anywhere(job, after)
        # the row's backbone is then the best so far
        *_, best = ["", *(one.backbone for one in list_tried(heard) if one.is_better)]
        rest = rest.change(backbone=BackboneSpec(name=best or names[0]))
        after_it = list(fine_tune(*rest))
        assert job.checkpoint.read_bytes() == expected, f"cut off at snapshot {after}"
        assert last(after_it).metrics == last(whole).metrics
        decided = [timeless(one) for one in list_tried(heard) + list_tried(after_it)]
        assert decided == [timeless(one) for one in list_tried(whole)]


def test_a_backbone_that_cannot_be_used_is_left_out(job: Job) -> None:
    shutil.rmtree(job.checkpoint.with_name("backbones") / "small")
    events = list(fine_tune(*job))
    gone, probe, whole = list_tried(events)
    assert gone.reason is not None
    assert "local/small" in gone.reason
    assert gone.recipe["quality"] == "fast"
    assert [(one.name, one.backbone, one.reason) for one in (probe, whole)] == [
        ("probe", "local/other", None),
        ("whole_network", "local/other", None),
    ]
    assert last(events)


def test_the_job_fails_where_none_can_be_used(job: Job) -> None:
    job = name_backbones(job, "local/gone", "local/lost")
    heard: list[Event] = []
    with pytest.raises(NoBackboneUsable, match=r"None of the 2 backbones can be used. local/gone: .*; local/lost: "):
        heard.extend(fine_tune(*job))


def test_a_stop_leaves_out_the_backbones_that_were_not_tried(job: Job) -> None:
    events: list[Event] = []
    context = Context(stop_requested=lambda: bool(list_tried(events)))
    for event in fine_tune(*job._replace(context=context)):
        events.append(event)
    assert [one.reason for one in list_tried(events)] == [None, "the job was stopped", "the job was stopped"]
    assert last(events).stop_reason == "stopped"
