"""Snapshots come back as they were, and are due at their pace."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from models.pipeline import state_file
from models.pipeline.snapshots import Pace
from models.pipeline.state_file import StateUnreadable
from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    tensors = {
        "weights": torch.randn(3, 2).to(torch.bfloat16),
        "turned": torch.arange(12.0).view(3, 4).T,
        "step": torch.tensor(7.0),
        "fires": torch.tensor([True, False]),
        "draws": torch.get_rng_state(),
        "none": torch.zeros(0, 4),
    }
    rest: dict[str, Any] = {
        "losses": [0.1, 1 / 3, math.inf],
        "best": None,
        "epoch": 3,
        "is_over": False,
        "kind": "x",
        "names": {},
    }
    state_file.write(tmp_path / "file", {"deep": [{"tensors": tensors}], **rest})
    read = state_file.read(tmp_path / "file")
    (deep,) = read.pop("deep")
    assert read == rest
    assert set(deep["tensors"]) == set(tensors)
    for name, tensor in tensors.items():
        assert deep["tensors"][name].dtype == tensor.dtype
        assert torch.equal(deep["tensors"][name], tensor)


def test_what_another_version_wrote_is_refused(tmp_path: Path) -> None:
    checkpoint_file.write(tmp_path / "file", {}, {"state": "{}", "version": "1"})
    with pytest.raises(StateUnreadable, match=f"version 1, this Graft reads {state_file.VERSION}"):
        state_file.read(tmp_path / "file")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    state_file.write(tmp_path / "file", {"weights": torch.ones(8)})
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[:-4])
    with pytest.raises(StateUnreadable, match="damaged"):
        state_file.read(tmp_path / "file")


def test_the_same_state_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        state_file.write(tmp_path / name, {"b": torch.ones(2), "a": [torch.zeros(2), 1]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("seconds", "ends_epoch", "age", "is_due"),
    [
        (60.0, False, 59.0, False),
        (60.0, False, 61.0, True),
        (60.0, True, 0.5, False),
        (60.0, True, 1.5, True),
        (0.0, False, 0.0, True),
    ],
)
def test_it_is_due_at_ends_of_epochs_and_when_much_would_be_lost(
    seconds: float, ends_epoch: bool, age: float, is_due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    pace = Pace(seconds)
    monkeypatch.setattr(time, "monotonic", lambda: began + 0.01 + age)
    assert pace.is_due(ends_epoch=ends_epoch) == is_due
    if seconds:
        assert not pace.is_due(ends_epoch=ends_epoch), "it was taken"


def test_it_is_due_when_somebody_wants_it() -> None:
    wishes = [True, False]
    pace = Pace(60.0, lambda: wishes.pop(0))
    assert pace.is_due(ends_epoch=False)
    assert not pace.is_due(ends_epoch=False)
