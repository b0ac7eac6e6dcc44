"""A fine-tuning that is cut off anywhere and resumed by another process ends with the same bytes."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING, Any

import pytest

from models.messages import Diagnosed, EpochEnded, Finished, Noted, ProgressSaved
from models.pipeline import state_file
from models.pipeline.fine_tune import fine_tune
from models.runtime import checkpoint_file
from tests.support.small_job import cut_off, last, small_job

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam")
MLP = {"kind": "mlp", "hidden": [16], "dropout": 0.3, "normalization": "batch_norm"}
RECIPES: dict[str, dict[str, Any]] = {
    **{kind: {"optimizer": kind} for kind in OPTIMIZERS},
    "mlp": {"head": MLP, "schedule": "cosine", "gradient_clipping": "by_norm"},
    "averaged": {"averaging": {"decay": 0.9}, "augmentations": ["horizontal_flip", "mixup"]},
    "fitted": {"head": MLP, "augmentations": ["feature_noise"], "regularizers": ["l1", "max_norm"]},
    "uncached": {"cache": "off", "augmentations": ["horizontal_flip", "cutmix"], "epochs": 3},
    "unfrozen": {"cut": "top", "batch_size": 16, "epochs": 4},
    "interpolated": {"cut": {"kind": "top", "probe": True}, "batch_size": 16, "epochs": 3, "early_stopping": {}},
    "everything trained": {"cut": {"kind": "none", "probe": True}, "epochs": 2, "early_stopping": {}},
    "low-rank updates": {"cut": {"kind": "top", "probe": True}, "tuning": "lora", "epochs": 3, "early_stopping": {}},
    "low-rank updates of a pretrained top": {
        "cut": {"kind": "gradual", "every": 1},
        "tuning": "lora",
        "epochs": 3,
        "averaging": {"decay": 0.9},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "pretraining": {"kind": "rotation", "epochs": 3, "lr": 0.002},
    },
    "adapted norms": {
        "cut": {"kind": "top", "probe": True, "batch_norm": "adapted"},
        "epochs": 3,
        "early_stopping": {},
    },
    "adapted norms of the whole": {"cut": {"kind": "none", "batch_norm": "adapted"}, "epochs": 2},
    "norms alone": {"cut": "top", "tuning": "norm_only", "epochs": 3},
    "gradual": {"cut": {"kind": "gradual", "every": 1, "batch_norm": "trained"}, "epochs": 4},
    "sharp": {"sharpness": "sam", "head": MLP, "augmentations": ["mixup", "feature_noise"], "averaging": {}},
    "sharp stages": {
        "sharpness": "asam",
        "cut": {"kind": "top", "batch_norm": "trained", "probe": True},
        "precision": "bfloat16",
        "batch_size": 16,
        "epochs": 3,
    },
    "balanced": {"sampling": "balanced", "schedule": {"kind": "performance", "patience": 1}},
    "searched": {"search": {"trials": 4}},
    "pretrained": {"head": MLP, "pretraining": "autoencoder"},
    "slower": {"optimizer": {"kind": "sgd", "lr": 10.0}, "head": {"kind": "mlp", "hidden": [8]}, "epochs": 3},
}


def figures(events: list[Event]) -> list[dict[str, Any]]:
    """Figures of epochs that do not depend on the time."""
    return [event.model_dump(exclude={"seconds"}) for event in events if isinstance(event, EpochEnded)]


EXTENDED = {
    *OPTIMIZERS[1:-1],
    *("everything trained", "low-rank updates", "adapted norms of the whole", "norms alone", "sharp stages"),
}
"""Of which others have the parts."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.extended] * (name in EXTENDED)) for name in RECIPES]
)
def test_whoever_takes_it_up_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, **{"early_stopping": None, "epochs": 6, **RECIPES[name]})
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    expected = job.checkpoint.read_bytes()
    snapshots = sum(isinstance(event, ProgressSaved) and bool(event.snapshot) for event in whole)
    draw = random.Random(name)
    for after in {snapshots, *(draw.randint(1, snapshots - 1) for _ in range(2))}:
        before, rest = cut_off(job, after)
        after_it = list(fine_tune(*rest))
        assert job.checkpoint.read_bytes() == expected, f"cut off at snapshot {after} of {snapshots}"
        assert last(after_it).metrics == last(whole).metrics
        assert figures(before) + figures(after_it) == figures(whole)
        diagnoses = [[event for event in heard if isinstance(event, Diagnosed)][-1] for heard in (whole, after_it)]
        assert diagnoses[0] == diagnoses[1]


def test_it_may_be_cut_off_again_and_again(tmp_path: Path) -> None:
    job = small_job(tmp_path, early_stopping=None, epochs=6, head=MLP)
    list(fine_tune(*job))
    expected = job.checkpoint.read_bytes()
    rest = job
    for _ in range(5):
        _, rest = cut_off(rest, 7)
    list(fine_tune(*rest))
    assert job.checkpoint.read_bytes() == expected


def test_a_cut_off_after_the_reason_to_stop_changes_nothing(tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=40, target={"metric": "validation_accuracy", "value": 0.5})
    whole = list(fine_tune(*job.change(snapshot_seconds=0.0)))
    assert last(whole).stop_reason == "target_reached"
    _, rest = cut_off(job, sum(isinstance(event, ProgressSaved) and bool(event.snapshot) for event in whole))
    after_it = list(fine_tune(*rest))
    assert last(after_it).stop_reason == "target_reached"
    assert figures(after_it) == []


def test_time_that_earlier_attempts_took_counts(tmp_path: Path) -> None:
    job = small_job(tmp_path, early_stopping=None, epochs=6, time_budget_seconds=3600)
    _, rest = cut_off(job, 3)
    assert rest.spec.snapshot is not None
    state = state_file.read(rest.spec.snapshot)
    state_file.write(rest.spec.snapshot, {**state, "elapsed": 3600.0})
    ended = last(list(fine_tune(*rest)))
    assert ended.stop_reason == "time_budget"


def test_a_snapshot_is_small(tmp_path: Path) -> None:
    _, rest = cut_off(small_job(tmp_path, early_stopping=None), 3)
    assert rest.spec.snapshot is not None
    head = 4 * 3 * 97
    assert rest.spec.snapshot.stat().st_size < 8 * head + 40_000, "the trunk is not in it"


def test_a_full_disk_is_said_once_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state_file, "write", full)
    events = list(fine_tune(*small_job(tmp_path).change(snapshot_seconds=0.0)))
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Noted) and event.kind == "snapshot_failed" for event in events) == 1
    assert not list(tmp_path.glob("snapshot-*"))


def test_what_is_cached_is_secured_on_the_way(tmp_path: Path) -> None:
    events = list(fine_tune(*small_job(tmp_path).change(snapshot_seconds=0.0)))
    assert any(isinstance(event, ProgressSaved) and event.snapshot is None for event in events)
    assert not any(isinstance(event, ProgressSaved) for event in fine_tune(*small_job(tmp_path))), "nobody asked for it"


@pytest.mark.parametrize("content", ["another version", "damage"])
def test_a_snapshot_that_cannot_be_read_is_reported_and_training_starts_over(content: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, epochs=3)
    list(fine_tune(*job))
    expected = job.checkpoint.read_bytes()
    snapshot = tmp_path / "old.safetensors"
    if content == "damage":
        snapshot.write_bytes(b"x" * 100)
    else:
        checkpoint_file.write(snapshot, {}, {"state": "{}"})
    events = list(fine_tune(*job.change(snapshot=snapshot)))
    (note,) = (event for event in events if isinstance(event, Noted) and event.kind == "snapshot_unreadable")
    assert (note.level, "training starts over" in note.message) == ("warning", True)
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2, 3]
    assert job.checkpoint.read_bytes() == expected
