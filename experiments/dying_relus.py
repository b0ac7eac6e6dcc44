"""Dying ReLUs: what a high learning rate does to units.

A ReLU that is pushed below zero for every image gets no gradient, and never comes back. Do leaky ReLU and ELU stay
alive where ReLU dies? A head of three hidden layers, each of 100 units, is trained by Adam at ever higher rates. A unit
is dead if, after training, the slope of its activation is exactly zero for every training image.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepare, run
from experiments.spread import Difference, format_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Effort, Run
    from models.nn.head import HeadModule

ACTIVATIONS = ("relu", "leaky_relu", "elu")
RATES = (0.001, 0.01, 0.03, 0.1, 0.3)
MOSTLY = 0.5
"""Share of dead units from which an activation counts as dead."""


@dataclass(frozen=True)
class Result:
    """Shares by activation and rate, each a list over seeds."""

    dead: dict[str, dict[float, list[float]]]
    accuracies: dict[str, dict[float, list[float]]]
    epochs: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = [f"after {self.epochs} epochs", *(f"lr {rate:g}" for rate in RATES)]
        tables = [
            Table(
                [words, *heads[1:]],
                [[name, *(format_percent(by_rate[r]) for r in RATES)] for name, by_rate in of.items()],
            )
            for words, of in ((f"dead units {heads[0]}", self.dead), (f"test accuracy {heads[0]}", self.accuracies))
        ]
        findings = [self._describe(name) for name in ACTIVATIONS] + [self._compare(name) for name in ACTIVATIONS[1:]]
        return Report(tables, self._plot(), "Dead units and test accuracy by learning rate", findings)

    def _describe(self, name: str) -> str:
        shares = {rate: statistics.fmean(self.dead[name][rate]) for rate in RATES}
        dying = [rate for rate in RATES if shares[rate] > MOSTLY]
        if dying:
            return f"{name}: most units are dead from a rate of {dying[0]:g} on ({shares[dying[0]]:.0%})."
        worst = max(shares, key=shares.__getitem__)
        return f"{name}: most units live at every rate; at worst {shares[worst]:.1%} are dead, at {worst:g}."

    def _compare(self, name: str) -> str:
        gains = {rate: Difference.from_pairs(self.dead["relu"][rate], self.dead[name][rate]) for rate in RATES}
        fewer = [
            f"{rate:g} ({gain.format_points()})" for rate, gain in gains.items() if gain.is_clear and gain.mean > 0
        ]
        more = [f"{rate:g} ({gain.format_points()})" for rate, gain in gains.items() if gain.is_clear and gain.mean < 0]
        phrases = [
            f"{words} at {', '.join(rates)}"
            for words, rates in (("clearly more", fewer), ("clearly fewer", more))
            if rates
        ]
        return f"Dead units of relu compared with {name}, in points: {'; '.join(phrases) or 'no clear difference'}."

    def _plot(self) -> Figure:
        figure, (left, right) = plots.create_panels(2)
        for axes, of in ((left, self.dead), (right, self.accuracies)):
            axes.set_xscale("log")
            plots.plot_lines(axes, RATES, {name: plots.group_by_seed(by_rate, 100) for name, by_rate in of.items()})
        plots.label_axes(left, "Dead units, %", "learning rate of Adam")
        plots.label_axes(right, "Test accuracy, %", "learning rate of Adam")
        plots.add_legend(figure, left, 3)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train at each rate and count dead units."""
    epochs = effort.scale_epochs(10)
    dead: dict[str, dict[float, list[float]]] = {name: {rate: [] for rate in RATES} for name in ACTIVATIONS}
    accuracies: dict[str, dict[float, list[float]]] = {name: {rate: [] for rate in RATES} for name in ACTIVATIONS}
    for seed in effort.seeds:
        parts = material.split(seed)
        for name in ACTIVATIONS:
            for rate in RATES:
                choices = {
                    "epochs": epochs,
                    "head": {"kind": "mlp", "hidden": [100] * 3, "activation": name, "dropout": 0.0},
                    "optimizer": {"kind": "adam", "lr": rate},
                    "regularizers": (),
                }
                done = run(prepare(material, parts, seed, choices))
                dead[name][rate].append(measure_dead_share(done))
                accuracies[name][rate].append(done.test_accuracy)
    return Result(dead, accuracies, epochs)


def measure_dead_share(done: Run) -> float:
    """Measure the share of hidden units whose activation has zero slope for every training image."""
    model, train = done.setting.model.eval(), done.setting.parts.train
    features = model.compute_features(done.setting.source, train.images)
    return float(torch.cat(find_dead_units(model.head, features)).float().mean())


def find_dead_units(head: HeadModule, features: torch.Tensor) -> list[torch.Tensor]:
    """Find the dead units of each hidden layer, from below: bool (H,), true where the slope is zero for all rows."""
    found = []
    rows = features
    for module in head.layers:
        sums = rows.detach().requires_grad_()
        rows = module(sums)
        if not isinstance(module, torch.nn.Linear | torch.nn.Dropout):
            (slopes,) = torch.autograd.grad(rows.sum(), sums)
            found.append((slopes == 0).all(0))
    return found
