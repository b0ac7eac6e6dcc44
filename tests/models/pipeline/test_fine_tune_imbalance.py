"""Whole fine-tunings where classes are of very different sizes, or cannot be told apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.messages import EpochEnded, Noted
from models.pipeline.fine_tune import fine_tune
from tests.support.images import coloured, encoded, noise, write_zip
from tests.support.small_job import Job, last, small_job
from tests.support.small_pack import packed

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event


def imbalanced_job(folder: Path, counts: dict[str, int], *, is_learnable: bool, **choices: Any) -> Job:
    """A fine-tuning on images of classes of these sizes: in their own colours, or of noise."""
    files = {
        f"{name}/{number:03}.png": coloured(label, number) if is_learnable else encoded(noise(1000 * label + number))
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    }
    job = small_job(folder, **{"epochs": 200, **choices})
    dataset = job.spec.dataset.model_copy(update={"classes": sorted(counts)})
    return job.change(dataset=dataset)._replace(pack=packed(write_zip(folder / "rare.zip", files)))


def notes(events: list[Event]) -> dict[str, Noted]:
    """Notes by kind."""
    return {event.kind: event for event in events if isinstance(event, Noted)}


HEADS: dict[str, dict[str, Any]] = {
    "linear": {},
    "a fixed rate": {"optimizer": {"kind": "adam", "lr": 0.03}},
    "from zero": {"head": {"kind": "linear", "start": "zero"}},
    "mlp": {"head": {"kind": "mlp", "hidden": [16]}},
    "trained stages": {"cut": "top", "epochs": 3},
    "by accuracy": {"early_stopping": {"metric": "validation_accuracy"}},
}


@pytest.mark.parametrize("name", HEADS)
def test_on_validation_images_nothing_is_worse_than_the_constant_or_lda(name: str, tmp_path: Path) -> None:
    """Noise, in which there is nothing to learn but how often each class occurs."""
    events = list(fine_tune(*imbalanced_job(tmp_path, {"a": 60, "b": 8}, is_learnable=False, **HEADS[name])))
    metrics = last(events).metrics
    reached = metrics["validation"]["accuracy"]
    assert reached >= metrics["validation"]["constant_accuracy"]
    assert reached >= max(baseline["validation_accuracy"] for baseline in metrics["baselines"].values())
    assert ("lda" in metrics["baselines"]) == (name != "mlp")
    assert metrics["delivered"] in {"epoch", *metrics["baselines"]}
    assert (metrics["best_epoch"] == 0) == (metrics["delivered"] != "epoch") == ("baseline_delivered" in notes(events))


def test_a_rare_class_that_can_be_told_is_found(tmp_path: Path) -> None:
    events = list(fine_tune(*imbalanced_job(tmp_path, {"red": 80, "blue": 4}, is_learnable=True)))
    metrics = last(events).metrics
    assert metrics["test"]["accuracy"] == metrics["test"]["balanced_accuracy"] == 1.0
    assert metrics["test"]["constant_accuracy"] == pytest.approx(12 / 13)
    assert "rare_class_lost" not in notes(events)


def test_a_rare_class_that_is_lost_is_said_with_what_to_do(tmp_path: Path) -> None:
    counts = {"a": 80, "b": 8}
    note = notes(list(fine_tune(*imbalanced_job(tmp_path, counts, is_learnable=False))))["rare_class_lost"]
    assert note.level == "warning"
    assert "b: 0 of 1" in note.message
    assert "loss.class_weights: auto" in note.message
    assert "sampling: balanced" in note.message


@pytest.mark.parametrize("choices", [{"loss": {"class_weights": "auto"}}, {"sampling": "balanced"}])
def test_what_is_advised_is_not_undone_by_the_constant(choices: dict[str, Any], tmp_path: Path) -> None:
    """The constant is more accurate, but each class counts the same."""
    events = list(fine_tune(*imbalanced_job(tmp_path, {"red": 80, "yellow": 6}, is_learnable=True, **choices)))
    assert last(events).metrics["delivered"] != "constant"
    assert last(events).metrics["validation"]["balanced_accuracy"] > 0.5


def test_balanced_accuracy_is_told_of_each_epoch(tmp_path: Path) -> None:
    events = list(fine_tune(*imbalanced_job(tmp_path, {"red": 40, "blue": 6}, is_learnable=True, epochs=2)))
    figures = [event.validation_balanced_accuracy for event in events if isinstance(event, EpochEnded)]
    assert len(figures) == 2
    assert all(figure is not None and 0 <= figure <= 1 for figure in figures)


def test_easy_images_do_not_make_it_certain(tmp_path: Path) -> None:
    """No validation image is wrong; still each wrong test image would cost a few nats, not a hundred."""
    job = imbalanced_job(tmp_path, {"red": 30, "green": 30, "blue": 30}, is_learnable=True)
    metrics = last(list(fine_tune(*job))).metrics
    assert metrics["validation"]["accuracy"] == 1.0
    assert metrics["validation"]["loss"] > 1e-3
    with safe_open(job.checkpoint, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["temperature"]) == metrics["calibration"]["temperature"] > 0
    assert json.loads(metadata["metrics"]) == metrics


def test_the_temperature_is_in_the_delivered_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another temperature divides the classifier's weights and biases, and changes nothing else."""
    files = []
    job = imbalanced_job(tmp_path, {"red": 30, "yellow": 30}, is_learnable=True, epochs=3)
    for name, temperature in (("one", 1.0), ("four", 4.0)):
        monkeypatch.setattr("models.pipeline.checkpoints.fit_temperature", lambda *_, found=temperature: found)
        made = job.change(checkpoint=tmp_path / f"{name}.safetensors")
        metrics = last(list(fine_tune(*made))).metrics
        for split in ("validation", "test"):
            calibration = metrics["calibration"][split]
            assert calibration["after"] == {name: metrics[split][name] for name in ("loss", "calibration_error")}
        files.append((load_file(made.checkpoint), metrics))
    (one, first), (other, second) = files
    for name, tensor in one.items():
        torch.testing.assert_close(other[name] * (4 if name.startswith("fc.") else 1), tensor)
    assert first["test"]["confusion_matrix"] == second["test"]["confusion_matrix"]
    before = [metrics["calibration"]["test"]["before"]["loss"] for metrics in (first, second)]
    assert before[0] == pytest.approx(before[1], rel=1e-4)
    assert first["test"]["loss"] != pytest.approx(second["test"]["loss"], rel=1e-2)
