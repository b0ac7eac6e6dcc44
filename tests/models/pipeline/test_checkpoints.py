"""Checkpoints of epochs beside the best: each is what a job that ended there delivers, and is tested by itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

from graft.images import decode
from models.messages import CheckpointWritten, EpochEnded, Noted
from models.pipeline.fine_tune import fine_tune
from models.pipeline.setup import split_pack
from models.pipeline.spec import name_statistics
from models.training import kept_epochs
from tests.support.small_job import cut_off, last, small_job

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event
    from tests.support.small_job import Job

MLP = {"kind": "mlp", "hidden": [16], "dropout": 0.3}
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 8},
    "mlp": {
        "head": MLP,
        "optimizer": {"kind": "adam", "lr": 0.01},
        "epochs": 6,
        "averaging": {"decay": 0.9},
        "augmentations": [],
    },
    "unfrozen": {"cut": "top", "batch_size": 16, "epochs": 4},
    "uncached": {"cache": "off", "augmentations": ["horizontal_flip"], "epochs": 3},
}
SLOW: dict[str, Any] = {"cache": "off", "optimizer": {"kind": "sgd", "lr": 0.05}, "augmentations": [], "epochs": 6}
"""Improves in every epoch."""


def written(events: list[Event]) -> list[CheckpointWritten]:
    return [event for event in events if isinstance(event, CheckpointWritten)]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def files(job: Job, events: list[Event]) -> dict[str, bytes]:
    """Read the files of all checkpoints and of their statistics."""
    paths = [job.checkpoint, *(job.checkpoint.with_name(event.file) for event in written(events))]
    return {path.name: path.read_bytes() for one in paths for path in (one, name_statistics(one))}


@pytest.mark.parametrize("name", RECIPES)
def test_the_last_is_what_a_job_without_early_stopping_delivers(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    job = small_job(tmp_path, "kept", keep="last", early_stopping={"patience": 50}, **recipe)
    (event,) = written(list(fine_tune(*job)))
    other = small_job(tmp_path, "plain", early_stopping=None, **recipe)
    ended = last(list(fine_tune(*other)))
    assert (event.kind, event.epoch, event.file) == ("last", recipe["epochs"], "last.safetensors")
    found, expected = tensors(job.checkpoint.with_name(event.file)), tensors(other.checkpoint)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert event.metrics == {part: ended.metrics[part] for part in ("validation", "test")}


@pytest.mark.parametrize("name", RECIPES)
def test_the_best_has_the_same_tensors_whatever_is_kept_beside_it(name: str, tmp_path: Path) -> None:
    results = []
    for keep in ("best", "last", "improvements"):
        job = small_job(tmp_path, keep, keep=keep, **RECIPES[name])
        results.append((last(list(fine_tune(*job))).metrics, tensors(job.checkpoint)))
    for metrics, found in results[1:]:
        assert metrics == results[0][0]
        assert all(torch.equal(found[name], tensor) for name, tensor in results[0][1].items())


def test_improvements_are_the_epochs_that_were_the_best(tmp_path: Path) -> None:
    job = small_job(tmp_path, keep="improvements", **SLOW)
    events = list(fine_tune(*job))
    floor = max(one["validation_accuracy"] for one in last(events).metrics["baselines"].values())
    best, expected = min(one["validation_loss"] for one in last(events).metrics["baselines"].values()), []
    for epoch in (event for event in events if isinstance(event, EpochEnded)):
        if epoch.validation_accuracy >= floor and epoch.validation_loss < best:
            best = epoch.validation_loss
            expected.append(epoch.epoch)
    assert [event.epoch for event in written(events)] == expected[:-1]
    assert last(events).epoch == expected[-1]
    assert len(expected) > 2, "else it shows nothing"
    for event in written(events):
        about = metadata(job.checkpoint.with_name(event.file))
        assert (about["kind"], about["epoch"]) == ("improved", str(event.epoch))
        assert json.loads(about["metrics"])["validation"] == event.metrics["validation"]


def test_each_states_the_test_accuracy_of_its_own_file_in_plain_timm(tmp_path: Path) -> None:
    job = small_job(tmp_path, keep="improvements", **SLOW)
    for event in written(list(fine_tune(*job))):
        path = job.checkpoint.with_name(event.file)
        network = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(path)).eval()
        *_, test = split_pack(job.pack, 3, job.spec.recipe)
        config = timm.data.resolve_data_config(json.loads(metadata(path)["pretrained_cfg"]))
        transform = timm.data.create_transform(**config)
        shown = [transform(decode(job.pack.read_file(image), job.pack.decoding)) for image in test.images]
        with torch.no_grad():
            logits = network(torch.stack(shown))
        accuracy = float(np.mean(logits.argmax(1).numpy() == test.labels))
        assert event.metrics["test"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("keep", ["last", "improvements"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_job_writes_the_same_bytes_once_each(keep: str, name: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, keep=keep, early_stopping={"patience": 50}, **RECIPES[name])
    whole = list(fine_tune(*job))
    expected = files(job, whole)
    for after in (1, 3):
        _, rest = cut_off(job, after)
        resumed = list(fine_tune(*rest))
        assert written(resumed) == written(whole)
        assert files(job, resumed) == expected


def test_improvements_that_are_too_many_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_epochs, "MOST_IMPROVEMENTS", 1)
    events = list(fine_tune(*small_job(tmp_path, keep="improvements", **SLOW)))
    (note,) = (event for event in events if isinstance(event, Noted) and event.kind == "improvements_dropped")
    assert (len(written(events)), note.data["kept"]) == (1, 1)
    assert note.data["dropped"] > 0
