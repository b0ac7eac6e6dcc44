"""All kinds of pretraining: the seed decides, and whole jobs end."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open

from models.catalog.pretraining import Pretraining
from models.catalog.technique import members
from models.messages import Noted
from models.pipeline.fine_tune import fine_tune
from models.pretraining.pretrain import pretrain
from models.runtime.stop_condition import StopCondition
from tests.support.oriented_images import MLP, oriented_pack, prepared, shallow
from tests.support.small_job import last, small_job
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from pathlib import Path

RATE = {"lr": 0.003}
CHOICES: dict[str, dict[str, Any]] = {
    "autoencoder": {"head": MLP, "pretraining": {"kind": "autoencoder", "epochs": 2, "noise": 0.3}},
    "restricted_boltzmann_machine": {
        "head": {**MLP, "activation": "sigmoid"},
        "pretraining": {"kind": "restricted_boltzmann_machine", "epochs": 2},
    },
    "rotation": {"head": MLP, "pretraining": {"kind": "rotation", "epochs": 2}},
    "other_labels": {"head": MLP, "pretraining": {"kind": "other_labels", "dataset": "ds_other", "epochs": 2}},
}
KINDS = pytest.mark.parametrize("kind", CHOICES)


def test_every_kind_is_tested() -> None:
    assert {member.model_fields["kind"].default for member in members(Pretraining)} == set(CHOICES)


@KINDS
def test_the_seed_decides(kind: str, tmp_path: Path) -> None:
    pack = oriented_pack(tmp_path, 20)
    states = []
    for seed, drawn_before in ((0, 3), (0, 8), (1, 3)):
        run, model, material = prepared(pack, tmp_path, shallow(), seed=seed, **CHOICES[kind])
        torch.rand(drawn_before)
        list(pretrain(run, material))
        states.append(model.copy_state()["head.hidden.0.linear.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@KINDS
def test_it_ends_at_the_deadline(kind: str, tmp_path: Path) -> None:
    chosen = CHOICES[kind]
    long = {**chosen, "pretraining": {**chosen["pretraining"], "epochs": 100_000}}
    run, model, material = prepared(oriented_pack(tmp_path, 20), tmp_path, shallow(), **long)
    before = model.copy_state()["head.hidden.0.linear.weight"]
    list(pretrain(replace(run, stop_condition=StopCondition(time.monotonic())), material))
    assert not torch.equal(before, model.copy_state()["head.hidden.0.linear.weight"])


@KINDS
def test_a_whole_job_ends_and_delivers(kind: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, **{"epochs": 2, "optimizer": RATE, **CHOICES[kind]})
    if kind == "other_labels":
        (tmp_path / "other").mkdir()
        other = small_pack(tmp_path / "other", classes=4, each=10)
        dataset = job.spec.dataset.model_copy(update={"classes": ["blue", "green", "red", "yellow"]})
        job = job.change(other_dataset=dataset)._replace(other_pack=other)
    events = list(fine_tune(*job))
    notes = [event for event in events if isinstance(event, Noted) and event.kind == "pretraining"]
    assert len(notes) == (3 if "layer" in notes[-1].data else 2)
    assert all("first_loss" in note.data for note in notes[1:])
    json.dumps([note.data for note in notes], allow_nan=False)
    assert last(events).metrics["test"] is not None
    with safe_open(job.checkpoint, "pt") as file:
        assert json.loads(file.metadata()["recipe"])["pretraining"]["kind"] == kind


def test_a_job_with_a_trained_stage_ends_too(tmp_path: Path) -> None:
    choices = {"epochs": 1, "optimizer": RATE, "cut": "top", "pretraining": {"kind": "rotation", "epochs": 1}}
    assert last(list(fine_tune(*small_job(tmp_path, **choices)))).metrics["test"] is not None
