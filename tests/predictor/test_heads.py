"""Stacked heads give the logits of each head alone."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from predictor.head_matrix import HeadMatrix, Rows
from predictor.heads import Model
from predictor.packed_matrix import measure_lengths
from predictor.plan import Plan

CPU = torch.device("cpu")
HEAD_GROWTH = 1.25
"""Most bytes of the matrix against those of its heads."""


def make_model(matrix: HeadMatrix, number: int, classes: int) -> tuple[Model, nn.Linear]:
    """Make a model whose head is in the matrix, and the head itself."""
    torch.manual_seed(number)
    linear = nn.Linear(5, classes)
    rows = matrix.add(linear)
    model = Model(f"ckpt_{number}", [str(place) for place in range(classes)], is_multi_label=False, head=rows)
    weakref.finalize(model, matrix.release, rows)
    return model, linear


@torch.no_grad()
def test_any_selection_gives_each_head_its_own_logits() -> None:
    matrix = HeadMatrix(5, CPU)
    made = [make_model(matrix, number, 2 + number % 3) for number in range(100)]
    values = torch.randn(4, 5)
    for selection in ([0], [3, 1, 2], list(range(100)), list(range(99, 0, -1)), [7, 7]):
        models = tuple(made[place][0] for place in selection)
        plan = Plan(models, CPU)
        seen = 0
        for group, logits in zip(plan.groups, plan.compute(values), strict=True):
            for column, place in enumerate(group.places):
                expected = made[selection[place]][1](values).numpy()
                # Many are computed in half precision.
                np.testing.assert_allclose(logits[:, column], expected, atol=2e-3 if len(selection) > 50 else 1e-5)
                seen += 1
        assert seen == len(selection)


def test_rows_are_used_again_only_when_no_request_has_them() -> None:
    matrix = HeadMatrix(5, CPU)
    kept, _ = make_model(matrix, 0, 3)
    model, linear = make_model(matrix, 1, 3)
    plan = Plan((model,), CPU)
    assert isinstance(model.head, Rows)
    place = model.head.start
    del model
    gc.collect()
    make_other = make_model(matrix, 2, 3)
    values = torch.randn(2, 5)
    torch.testing.assert_close(torch.from_numpy(plan.compute(values)[0][:, 0]), linear(values).detach())
    del plan
    gc.collect()
    again, _ = make_model(matrix, 3, 3)
    assert isinstance(again.head, Rows)
    assert again.head.start == place
    assert kept.head != make_other[0].head


def test_few_rows_are_unused() -> None:
    matrix = HeadMatrix(5, CPU)
    models = [make_model(matrix, number, 10)[0] for number in range(1000)]
    assert matrix.bytes <= HEAD_GROWTH * len(models) * 10 * 6 * 4
    assert all(isinstance(model.head, Rows) for model in models)


@torch.no_grad()
@pytest.mark.parametrize("is_multi_label", [False, True])
def test_logits_of_many_heads_are_within_their_rounding_and_labels_those_of_each_head(is_multi_label: bool) -> None:
    matrix = HeadMatrix(64, CPU)
    torch.manual_seed(0)
    linears = [nn.Linear(64, 10) for _ in range(500)]
    for linear in linears:  # so that labels are near to each other, or to none
        common = torch.zeros(64) if is_multi_label else linear.weight[:1]
        linear.weight[:] = common + 1e-4 * torch.randn(10, 64)
        linear.bias[:] = 0
    models = tuple(
        Model(f"ckpt_{place}", list("abcdefghij"), is_multi_label, matrix.add(each))
        for place, each in enumerate(linears)
    )
    values = 10 * torch.randn(8, 64)
    plan = Plan(models, CPU)
    (logits,) = plan.compute(values)
    expected = torch.stack([linear(values) for linear in linears], 1).numpy()
    (group,) = plan.groups
    bound = group.errors * measure_lengths(values.numpy())[:, None]
    assert (np.abs(logits - expected).max(-1) <= bound / 2**0.5 + 1e-5).all()
    was_wrong = label(logits, is_multi_label) != label(expected, is_multi_label)
    assert was_wrong.any(), "half precision alone does not give the labels"
    (leads,) = plan.refine(values.numpy(), [logits], [np.zeros((8, 500))])
    assert (label(logits, is_multi_label) == label(expected, is_multi_label)).all()
    assert (np.abs(leads - group.measure_leads(expected)) <= bound + 1e-5).all()


def label(logits: np.ndarray, is_multi_label: bool) -> np.ndarray:
    """Label images by each model: the class, or the classes above 0."""
    return logits > 0 if is_multi_label else logits.argmax(-1)


@torch.no_grad()
def test_a_head_that_takes_the_rows_of_another_answers_in_the_next_plan() -> None:
    matrix = HeadMatrix(5, CPU)
    made = [make_model(matrix, number, 10) for number in range(100)]
    values = torch.randn(2, 5)
    Plan(tuple(model for model, _ in made), CPU).compute(values)
    made[50] = None  # type: ignore[call-overload]
    gc.collect()
    made[50] = make_model(matrix, 1000, 10)
    (logits,) = Plan(tuple(model for model, _ in made), CPU).compute(values)
    for place in (0, 50, 99):
        expected = made[place][1](values).numpy()
        np.testing.assert_allclose(logits[:, place], expected, atol=2e-3)
