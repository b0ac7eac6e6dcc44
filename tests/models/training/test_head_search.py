"""Search: halving keeps what it should keep."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.runtime.stop_condition import NONE, StopCondition
from models.training.head_search import search_head
from tests.support.small_pack import small_pack
from tests.support.small_training import small_run

if TYPE_CHECKING:
    from pathlib import Path

    from models.catalog.recipe import ResolvedRecipe


def searched(
    tmp_path: Path, stop_condition: StopCondition = NONE, **choices: Any
) -> tuple[ResolvedRecipe, list[dict[str, Any]], Any]:
    """A search on real images: the recipe, the trials, and the model."""
    given = {"epochs": 16, "optimizer": {"lr": 1e-2}, "search": {"trials": 8}, **choices}
    pack = small_pack(tmp_path, classes=3, each=30)
    run = replace(small_run(pack, tmp_path, **given), stop_condition=stop_condition)
    model, before = run.model, copy.deepcopy(run.model.head.state_dict())
    found, searched = search_head(run)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.head.state_dict().items())
    return found.recipe, [trial.model_dump() for trial in searched.trials], model


def test_the_half_that_does_worse_ends_each_time(tmp_path: Path) -> None:
    recipe, trials, model = searched(tmp_path)
    assert [trial["epochs"] for trial in trials] == [8, 4, 2, 2, 1, 1, 1, 1]
    assert all(0 <= trial["epoch"] <= trial["epochs"] for trial in trials)
    losses = np.array([trial["validation_loss"] for trial in trials])
    assert losses[2] <= losses[3]
    assert sorted(losses[4:]) == losses[4:].tolist()
    best = trials[0]
    assert (recipe.optimizer.rate, recipe.l2, recipe.search) == (best["lr"], best["l2"], None)
    assert recipe.head.kind == "linear"
    assert recipe.head.dropout == best["dropout"] == model.head.dropout.p
    assert searched(tmp_path)[1] == trials


def test_a_rate_that_diverges_loses(tmp_path: Path) -> None:
    choices = {"optimizer": {"kind": "sgd", "lr": 1e-2}, "search": {"trials": 6, "space": {"lr": [1e25, 1e30]}}}
    recipe, trials, _ = searched(tmp_path, **choices)
    assert recipe.optimizer.rate == 1e-2
    assert any(trial["validation_loss"] is None for trial in trials)


def test_a_time_budget_ends_it(tmp_path: Path) -> None:
    _, trials, _ = searched(tmp_path, StopCondition(time.monotonic()))
    assert [trial["epochs"] for trial in trials] == [0] * 8
