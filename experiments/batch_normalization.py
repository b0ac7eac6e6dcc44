"""Batch normalization: on and off, and what a step costs.

Does it speed training up, and does it bear higher learning rates? A head of six hidden layers, each of 64 units, with
ReLU and with sigmoid, is trained by Adam without normalization, with batch_norm, and with layer_norm: at the rate that
the range test finds, and at fixed ones. The time of a step is that of the fastest epoch at the found rate, validation
included, over its steps, by one thread while another experiment runs beside it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepared, run
from experiments.spread import against, percent, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Effort, Run

NORMALIZATIONS = {"none": None, "batch_norm": "batch_norm", "layer_norm": "layer_norm"}
ACTIVATIONS = ("relu", "sigmoid")
RATES = (0.001, 0.01, 0.1)


@dataclass(frozen=True)
class Result:
    """By head, a list over seeds."""

    found: dict[str, list[Run]]
    """At the rate that the range test found."""
    fixed: dict[str, dict[float, list[float]]]
    """Test accuracy at fixed rates."""
    epochs: int

    def report(self) -> Report:
        """Tables, figure and findings."""
        heads = ["head", "lr found", "training loss", "test accuracy", "ms a step"]
        rows = [self._row(name, runs) for name, runs in self.found.items()]
        fixed = [[name, *(percent(by_rate[rate]) for rate in RATES)] for name, by_rate in self.fixed.items()]
        tables = [Table(heads, rows), Table(["test accuracy", *(f"lr {rate:g}" for rate in RATES)], fixed)]
        findings = [line for activation in ACTIVATIONS for line in self._of(activation)]
        note = f"All figures are those after {self.epochs} epochs."
        return Report(tables, self._figure(), "Training loss by epoch, test accuracy by rate", findings, [note])

    def _row(self, name: str, runs: list[Run]) -> list[str]:
        return [
            name,
            f"{statistics.geometric_mean(run.lr for run in runs):.2g}",
            spread([run.each("train_loss")[-1] for run in runs]),
            percent([run.test_accuracy for run in runs]),
            spread([1000 * run.seconds_a_step for run in runs]),
        ]

    def _of(self, activation: str) -> list[str]:
        names = [named(activation, kind) for kind in NORMALIZATIONS]
        off, on, _ = names
        accuracies = {name: [run.test_accuracy for run in self.found[name]] for name in names}
        seconds = [statistics.fmean(run.seconds_a_step for run in self.found[name]) for name in (off, on)]
        bears = [max((r for r in RATES if self._learns(name, r)), default=None) for name in (off, on)]
        highest = ["no fixed rate" if rate is None else f"{rate:g}" for rate in bears]
        return [
            f"{activation}, at the rates found: {against(off, accuracies)}",
            self._of_speed(activation, off, on),
            f"{activation}: the highest fixed rate at which the head stays within 5 points of its best is "
            f"{highest[0]} without and {highest[1]} with batch_norm, where its best is "
            f"{self._best(off):.1%} and {self._best(on):.1%}.",
            f"{activation}: a step takes {seconds[1] / seconds[0]:.2f} times as long with batch_norm.",
        ]

    def _of_speed(self, activation: str, *names: str) -> str:
        """Epochs to a training loss that both reach: the higher of those that they end with."""
        losses = [
            [
                statistics.fmean(values)
                for values in zip(*(run.each("train_loss") for run in self.found[name]), strict=True)
            ]
            for name in names
        ]
        both = max(min(of_one) for of_one in losses)
        off, on = (next(epoch for epoch, loss in enumerate(of_one, 1) if loss <= both) for of_one in losses)
        return (
            f"{activation}, at the rates found: a training loss of {both:.2g} takes {off} epochs without and {on} with "
            "batch_norm."
        )

    def _best(self, name: str) -> float:
        return max(statistics.fmean(values) for values in self.fixed[name].values())

    def _learns(self, name: str, rate: float) -> bool:
        return statistics.fmean(self.fixed[name][rate]) > self._best(name) - 0.05

    def _figure(self) -> Figure:
        figure, (left, right) = plots.panels(2)
        epochs = list(range(1, self.epochs + 1))
        plots.lines(left, epochs, {name: [run.each("train_loss") for run in runs] for name, runs in self.found.items()})
        right.set_xscale("log")
        plots.lines(right, RATES, {name: plots.by_seed(by_rate, 100) for name, by_rate in self.fixed.items()})
        plots.titled(left, "Training loss at the rate found", "epoch")
        plots.titled(right, "Test accuracy, %", "learning rate of Adam")
        plots.legend(figure, left, 3)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train each head at each rate."""
    epochs = effort.epochs(15)
    heads = {named(a, kind): (a, chosen) for a in ACTIVATIONS for kind, chosen in NORMALIZATIONS.items()}
    found: dict[str, list[Run]] = {name: [] for name in heads}
    fixed: dict[str, dict[float, list[float]]] = {name: {rate: [] for rate in RATES} for name in heads}
    for seed in effort.seeds:
        parts = material.parts(seed)
        for name, (activation, normalization) in heads.items():
            head = {"kind": "mlp", "hidden": [64] * 6, "activation": activation, "normalization": normalization}
            choices = {"epochs": epochs, "head": {**head, "dropout": 0.0}, "regularizers": ()}
            found[name].append(run(prepared(material, parts, seed, choices)))
            for rate in RATES:
                at_rate = {**choices, "optimizer": {"kind": "adam", "lr": rate}}
                fixed[name][rate].append(run(prepared(material, parts, seed, at_rate)).test_accuracy)
    return Result(found, fixed, epochs)


def named(activation: str, normalization: str) -> str:
    """What a head is called."""
    return activation if normalization == "none" else f"{activation} + {normalization}"
