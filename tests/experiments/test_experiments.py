"""Tests of each experiment in its smallest form."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import pytest
import torch

from experiments import (
    batch_normalization,
    dying_relus,
    optimizers,
    pretraining,
    regularizers,
    schedules,
    transfer,
    vanishing_gradients,
)
from experiments.running import Effort, prepare, run
from models.nn.head import HeadModule, HiddenLayer

if TYPE_CHECKING:
    from experiments.material import Material
    from experiments.page import Report

pytestmark = pytest.mark.extended

ONCE, TWICE = Effort(range(1), 0.0), Effort(range(2), 0.0)
"""Two epochs each, with one seed or two."""


def check(report: Report) -> None:
    """Check that a report can be put on a page."""
    for table in report.tables:
        assert {len(row) for row in table.rows} == {len(table.heads)}
    assert report.findings
    assert all(finding.endswith(".") and "nan" not in finding for finding in report.findings)
    assert report.figure.axes


def test_effort_scales_epochs_but_leaves_two() -> None:
    assert [Effort(share=share).scale_epochs(30) for share in (1.0, 0.5, 0.0)] == [30, 15, 2]


def test_gradients_vanish_below_sigmoids_and_not_below_relus(digits: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanishing_gradients, "WIDTHS", (16, 32))
    few = {name: vanishing_gradients.VARIANTS[name] for name in ("sigmoid + N(0, 1)", "sigmoid + Glorot", "relu + He")}
    monkeypatch.setattr(vanishing_gradients, "VARIANTS", few)
    result = vanishing_gradients.measure(digits, ONCE)
    check(result.report())
    historic, healthy = result.looks["sigmoid + N(0, 1)"], result.looks["relu + He"]
    assert all(len(look.gradients) == len(look.deviations) == vanishing_gradients.DEPTH for look in historic)
    assert all(look.gradient_ratio < 1e-2 for look in historic)
    assert all(look.gradient_ratio < 1e-8 for look in result.looks["sigmoid + Glorot"])
    for ratio in ("gradient_ratio", "deviation_ratio"):
        assert 0.1 < statistics.geometric_mean(getattr(look, ratio) for look in healthy) < 10
    assert historic[0].saturated is not None
    assert historic[0].saturated > 0.1
    assert healthy[0].saturated is None


def test_relus_die_at_a_high_rate_and_leaky_ones_do_not(digits: Material) -> None:
    result = dying_relus.measure(digits, TWICE)
    check(result.report())
    highest = dying_relus.RATES[-1]
    assert all(share > 0.5 for share in result.dead["relu"][highest])
    assert result.dead["leaky_relu"][highest] == [0.0, 0.0]
    assert result.dead["relu"][dying_relus.RATES[0]] == pytest.approx([0.0, 0.0], abs=0.02)


def test_a_unit_below_a_dead_layer_is_alive() -> None:
    layers = [torch.nn.Linear(4, 4) for _ in range(3)]
    torch.nn.init.constant_(layers[1].bias, -1e3)
    hidden = [HiddenLayer(layer, torch.nn.ReLU(), torch.nn.Dropout(0.0)) for layer in layers[:2]]
    head = HeadModule(torch.nn.Dropout(0.0), layers[2], hidden)
    lower, upper = dying_relus.find_dead_units(head, torch.randn(500, 4))
    assert not lower.any()
    assert upper.all()


def test_batch_normalization_bears_high_rates(digits: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_normalization, "RATES", (0.1,))
    result = batch_normalization.measure(digits, ONCE)
    check(result.report())
    assert result.fixed["sigmoid + batch_norm"][0.1][0] > result.fixed["sigmoid"][0.1][0] + 0.3
    assert all(done.seconds_a_step > 0 for runs in result.found.values() for done in runs)


def test_steps_are_counted_until_the_loss_is_reached(digits: Material) -> None:
    choices = {"epochs": 3, "head": {"kind": "mlp", "hidden": [100], "dropout": 0.0}, "regularizers": ()}
    losses = run(prepare(digits, digits.split(0), 0, {**choices, "optimizer": {"kind": "adam", "lr": 0.01}})).get_curve(
        "train_loss"
    )
    trial = optimizers.run_trial(digits, 0, {"kind": "adam", "lr": 0.01}, 3, losses[1])
    assert trial.losses == losses
    assert trial.steps == pytest.approx(2 * 20)
    assert optimizers.run_trial(digits, 0, {"kind": "adam", "lr": 0.01}, 3, 1e-9).steps == math.inf
    grid = {"sgd": {rate: [trial] for rate in optimizers.RATES}, "adam": {rate: [trial] for rate in optimizers.RATES}}
    check(optimizers.Result(grid, {"sgd": [trial], "adam": [trial]}, losses[1], 3, 20).report())


def test_losses_fall_evenly_between_epochs() -> None:
    assert optimizers.count_epochs_to(0.1, [1.0, 0.01]) == pytest.approx(1.5)
    assert optimizers.count_epochs_to(0.01, [1.0, 0.01]) == pytest.approx(2.0)
    assert optimizers.count_epochs_to(1.0, [0.5, 0.1]) == 1.0
    assert optimizers.count_epochs_to(0.001, [1.0, 0.01]) == math.inf


def test_schedules_end_where_they_should(digits: Material) -> None:
    result = schedules.measure(digits, Effort(range(1), 0.14))
    check(result.report())
    found, high = (result.runs[words] for words in schedules.FACTORS)
    assert high["constant"][0].lr == pytest.approx(10 * found["constant"][0].lr)
    assert found["constant"][0].get_curve("lr")[-1] == pytest.approx(found["constant"][0].lr)
    assert found["one_cycle"][0].get_curve("lr")[-1] < 0.1 * found["one_cycle"][0].lr


def test_regularizers_are_judged_alike(digits: Material) -> None:
    result = regularizers.measure(digits, ONCE)
    check(result.report())
    for judged in result.judged.values():
        assert all(0 <= one.test_accuracy <= 1 and one.test_loss > 0 for one in judged)
    (bare,) = result.judged[regularizers.NO]
    assert bare.accuracy_gap == pytest.approx(bare.train_accuracy - bare.test_accuracy)


def test_a_few_images_are_worth_more_to_a_frozen_trunk(digits: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "EACH", {20: 400})
    result = transfer.measure(digits, ONCE)
    check(result.report())
    assert result.accuracies["frozen, own size"][20][0] > result.accuracies["from scratch"][20][0]


def test_pretraining_changes_hidden_layers_alone(digits: Material) -> None:
    parts, choices = digits.split(0), pretraining.VARIANTS["relu + autoencoder"]
    before = pretraining.initialize_head(digits, parts, 0, {**choices, "pretraining": None}, 2)
    after = pretraining.initialize_head(digits, parts, 0, choices, 2)
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == set(list(before)[:-2]), "the output layer is as before"


def test_pretraining_compares_like_with_like(digits: Material) -> None:
    result = pretraining.measure(digits, ONCE)
    check(result.report())
    assert result.accuracies.keys() == pretraining.VARIANTS.keys()
    assert all(len(by_each[5]) == 1 for by_each in result.accuracies.values())
    alike = {name: prepare(digits, digits.split(0), 0, chosen) for name, chosen in pretraining.VARIANTS.items()}
    first, *others = alike.values()
    for other in others:
        assert torch.equal(first.model.standardize.mean, other.model.standardize.mean)
        for choice in ("optimizer", "regularizers", "augmentations", "batch_size", "schedule"):
            assert getattr(other.recipe, choice) == getattr(first.recipe, choice)
