"""Uncertain labels: leads smaller than the rounding that was seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.evaluation.exact_predictions import FIRST
from predictor.heads import Model
from predictor.plan import Plan
from predictor.rounding import Rounding

CPU = torch.device("cpu")


def make_plan(*, is_multi_label: bool = False) -> Plan:
    """Make a plan whose logits are the values themselves."""
    return Plan((Model("ckpt_1", ["a", "b", "c"], is_multi_label, nn.Identity()),), CPU)


def learn(change: float) -> Rounding:
    """Learn from images whose greatest change of a lead is twice this."""
    rounding = Rounding(CPU)
    for number in range(FIRST):
        exact = np.full(3, number, np.float32)
        rounding.add(exact + np.array([change, -change, 0], np.float32), exact)
    return rounding


def find(rounding: Rounding, plan: Plan, rows: list[list[float]]) -> list[bool]:
    """Find which rows are uncertain."""
    (bounds,), values = rounding.find_bounds(plan), np.array(rows, np.float32)
    (leads,) = plan.refine(values, plan.compute(torch.from_numpy(values)), [np.tile(bounds, (len(rows), 1))])
    return [bool(any(row)) for row in leads <= bounds]


def test_it_is_known_from_enough_images() -> None:
    rounding = Rounding(CPU)
    for _ in range(FIRST):
        assert not rounding.is_known
        rounding.add(np.zeros(3, np.float32), np.zeros(3, np.float32))
    assert rounding.is_known


def test_images_with_a_lead_below_twice_the_greatest_change_are_uncertain() -> None:
    assert find(learn(0.25), make_plan(), [[0.0, 0.99, -5], [0.0, 1.01, -5]]) == [True, False]


def test_of_several_labels_each_logit_counts() -> None:
    plan = make_plan(is_multi_label=True)
    assert find(learn(0.25), plan, [[3, -3, 0.49], [3, -3, -0.51], [3, -0.49, 3]]) == [True, False, True]


def test_a_greater_change_that_is_seen_later_counts() -> None:
    rounding, plan = learn(0.25), make_plan()
    assert find(rounding, plan, [[0.0, 1.5, -5]]) == [False]
    rounding.add(np.array([1, 0, 0], np.float32), np.zeros(3, np.float32))
    assert find(rounding, plan, [[0.0, 1.5, -5]]) == [True]
