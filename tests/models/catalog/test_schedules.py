"""Schedules against closed forms and torch's own."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.optim import lr_scheduler

from models.catalog.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Performance,
    PiecewiseConstant,
    Power,
    Schedule,
)
from models.catalog.technique import members

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPOCHS = 40
TIMES = [0.0, 0.25, 1.0, 9.99, 10.0, 19.5, 20.0, 30.0, 39.9]

CLOSED_FORMS: list[tuple[Schedule, Callable[[float], float]]] = [
    (Constant(), lambda t: 1.0),
    (PiecewiseConstant(), lambda t: 1.0 if t < 10 else 0.1 if t < 20 else 0.01),
    (PiecewiseConstant(boundaries=(), factors=(0.3,)), lambda t: 0.3),
    (Exponential(), lambda t: 0.1 ** (t / 20)),
    (Exponential(rate=0.5, every=4.0), lambda t: 0.5 ** (t / 4)),
    (Power(), lambda t: 1 / (1 + t / 20)),
    (Power(every=5.0, power=0.5), lambda t: 1 / math.sqrt(1 + t / 5)),
    (Cosine(), lambda t: (1 + math.cos(math.pi * t / 40)) / 2),
    (Cosine(least=0.2), lambda t: 0.2 + 0.8 * (1 + math.cos(math.pi * t / 40)) / 2),
    (OneCycle(rise=0.5, start=10.0, end=100.0), lambda t: one_cycle(t / 40, 0.5, 0.1, 0.01)),
    (OneCycle(), lambda t: one_cycle(t / 40, 0.3, 0.04, 1e-4)),
]

every_form = pytest.mark.parametrize(("schedule", "form"), CLOSED_FORMS, ids=lambda given: type(given).__name__)
every_schedule = pytest.mark.parametrize("technique", members(Schedule))


def one_cycle(done: float, rise: float, start: float, end: float) -> float:
    """Half a cosine from `start` to 1, then one to `end`."""
    if done < rise:
        return 1.0 - (1.0 - start) * (1 + math.cos(math.pi * done / rise)) / 2
    return end + (1.0 - end) * (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2


@every_form
def test_agrees_with_its_closed_form(schedule: Schedule, form: Callable[[float], float]) -> None:
    found = [schedule.compute_factor(time, EPOCHS, ()) for time in TIMES]
    assert found == pytest.approx([form(time) for time in TIMES], rel=1e-6)


@every_form
def test_warm_up_rises_in_proportion_and_then_time_starts(schedule: Schedule, form: Callable[[float], float]) -> None:
    warm = schedule.model_copy(update={"warmup_epochs": 2.5})
    rising = [warm.compute_factor(time, 0, ()) for time in (0.0, 0.5, 1.0, 2.0)]
    assert rising == pytest.approx([0.0, 0.2, 0.4, 0.8])
    found = [warm.compute_factor(2.5 + time, EPOCHS + 2.5, ()) for time in TIMES]
    assert found == pytest.approx([form(time) for time in TIMES], rel=1e-6)


@every_schedule
def test_goes_without_leaps_but_at_boundaries(technique: type[Any]) -> None:
    times = np.linspace(0, EPOCHS, 4001)
    factors = [technique().compute_factor(float(time), EPOCHS, ()) for time in times]
    leaps = [
        round(time, 2)
        for time, (one, next_one) in zip(times[1:], pairwise(factors), strict=True)
        if abs(one - next_one) > 0.01
    ]
    assert leaps == ([10.0, 20.0] if technique is PiecewiseConstant else [])
    assert all(0 < factor <= 1 for factor in factors[:-1])


@every_schedule
def test_is_a_pure_function(technique: type[Any]) -> None:
    schedule, losses = technique(warmup_epochs=1.0), [1.0, 0.9, 0.9, 0.9]
    forwards = [schedule.compute_factor(time, EPOCHS, losses) for time in TIMES]
    backwards = [schedule.compute_factor(time, EPOCHS, losses) for time in reversed(TIMES)]
    assert forwards == backwards[::-1]
    assert losses == [1.0, 0.9, 0.9, 0.9]


def optimizer() -> torch.optim.Optimizer:
    """With a rate of 1, so that rates are factors."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def rates_of(scheduler: Any, steps: int) -> list[float]:
    """The rates of a scheduler of torch, before the first step and after each."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_cosine_is_torchs(least: float) -> None:
    expected = rates_of(lr_scheduler.CosineAnnealingLR(optimizer(), T_max=EPOCHS, eta_min=least), EPOCHS + 1)
    found = [Cosine(least=least).compute_factor(epoch, EPOCHS, ()) for epoch in range(EPOCHS + 1)]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("start", "end"), [(25.0, 1e4), (4.0, 100.0)])
def test_one_cycle_is_torchs(start: float, end: float) -> None:
    """Torch's has its peak one step before the share of the rise, and its end before the last: in steps of its own."""
    steps, share = 101, 0.3
    theirs = lr_scheduler.OneCycleLR(
        optimizer(),
        max_lr=1.0,
        total_steps=steps,
        pct_start=share,
        anneal_strategy="cos",
        cycle_momentum=False,
        div_factor=start,
        final_div_factor=end / start,
    )
    expected = rates_of(theirs, steps - 1)
    ours = OneCycle(rise=(share * steps - 1) / (steps - 1), start=start, end=end)
    found = [ours.compute_factor(step, steps - 1, ()) for step in range(steps - 1)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert ours.compute_factor(steps - 1, steps - 1, ()) == pytest.approx(1 / end)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_performance_is_torchs_which_waits_one_epoch_longer(patience: int) -> None:
    """Torch's acts on the first bad epoch after its patience, ours when it has run out, as Keras' does."""
    losses = np.random.default_rng(0).uniform(size=60).tolist()
    sgd = optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(sgd, factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0)
    expected = []
    for loss in losses:
        theirs.step(loss)
        expected.append(sgd.param_groups[0]["lr"])
    ours = Performance(reduction=0.5, patience=patience)
    found = [ours.compute_factor(epoch, 60, losses[:epoch]) for epoch in range(1, 61)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[-1] < 0.5


@pytest.mark.parametrize(
    ("losses", "times"),
    [
        ([], 0),
        ([1.0], 0),
        ([1.0, 1.0, 1.0], 0),
        ([1.0, 1.1, 1.1, 1.1], 1),
        ([1.0, 1.1, 1.1, 0.9, 1.0, 1.0], 0),
        ([1.0, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1], 2),
        ([3.0, 2.0, 1.0, 0.5, 0.4, 0.3], 0),
    ],
)
def test_performance_counts_epochs_since_the_best_or_the_last_reduction(losses: Sequence[float], times: int) -> None:
    assert Performance(reduction=0.1, patience=3).compute_factor(7.0, EPOCHS, losses) == pytest.approx(0.1**times)


def test_performance_does_not_count_the_epochs_of_warm_up() -> None:
    warm = Performance(reduction=0.1, patience=2, warmup_epochs=2.5)
    losses = [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]
    assert [warm.compute_factor(float(epoch), EPOCHS, losses[:epoch]) for epoch in (3, 4, 5)] == [1.0, 1.0, 1.0]
    assert warm.compute_factor(6.0, EPOCHS, losses) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boundaries": [20, 10]}, "boundaries must ascend"),
        ({"boundaries": [10, 10]}, "boundaries must ascend"),
        ({"boundaries": [10]}, "1 boundaries need 2 factors, one more than boundaries; factors has 3"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PiecewiseConstant.model_validate(fields)
