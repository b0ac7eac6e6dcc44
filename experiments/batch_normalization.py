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
from experiments.running import prepare, run
from experiments.spread import compare_with, format_percent, format_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Effort, Run

NORMALIZATIONS = {"none": None, "batch_norm": "batch_norm", "layer_norm": "layer_norm"}
ACTIVATIONS = ("relu", "sigmoid")
RATES = (0.001, 0.01, 0.1)


@dataclass(frozen=True)
class Result:
    """Results by head, each a list over seeds."""

    found: dict[str, list[Run]]
    """Runs at the rate that the range test found."""
    fixed: dict[str, dict[float, list[float]]]
    """Test accuracy at fixed rates."""
    epochs: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = ["head", "lr found", "training loss", "test accuracy", "ms a step"]
        rows = [self._format_row(name, runs) for name, runs in self.found.items()]
        fixed = [[name, *(format_percent(by_rate[rate]) for rate in RATES)] for name, by_rate in self.fixed.items()]
        tables = [Table(heads, rows), Table(["test accuracy", *(f"lr {rate:g}" for rate in RATES)], fixed)]
        findings = [line for activation in ACTIVATIONS for line in self._describe(activation)]
        note = f"All figures are those after {self.epochs} epochs."
        return Report(tables, self._plot(), "Training loss by epoch, test accuracy by rate", findings, [note])

    def _format_row(self, name: str, runs: list[Run]) -> list[str]:
        return [
            name,
            f"{statistics.geometric_mean(run.lr for run in runs):.2g}",
            format_spread([run.get_curve("train_loss")[-1] for run in runs]),
            format_percent([run.test_accuracy for run in runs]),
            format_spread([1000 * run.seconds_a_step for run in runs]),
        ]

    def _describe(self, activation: str) -> list[str]:
        names = [name_head(activation, kind) for kind in NORMALIZATIONS]
        off, on, _ = names
        accuracies = {name: [run.test_accuracy for run in self.found[name]] for name in names}
        seconds = [statistics.fmean(run.seconds_a_step for run in self.found[name]) for name in (off, on)]
        bears = [max((r for r in RATES if self._learns(name, r)), default=None) for name in (off, on)]
        highest = ["no fixed rate" if rate is None else f"{rate:g}" for rate in bears]
        return [
            f"{activation}, at the rates found: {compare_with(off, accuracies)}",
            self._describe_speed(activation, off, on),
            f"{activation}: the highest fixed rate at which the head stays within 5 points of its best is "
            f"{highest[0]} without and {highest[1]} with batch_norm, where its best is "
            f"{self._find_best(off):.1%} and {self._find_best(on):.1%}.",
            f"{activation}: a step takes {seconds[1] / seconds[0]:.2f} times as long with batch_norm.",
        ]

    def _describe_speed(self, activation: str, *names: str) -> str:
        """Epochs to a training loss that both reach: the higher of those that they end with."""
        losses = [
            [
                statistics.fmean(values)
                for values in zip(*(run.get_curve("train_loss") for run in self.found[name]), strict=True)
            ]
            for name in names
        ]
        both = max(min(of_one) for of_one in losses)
        off, on = (next(epoch for epoch, loss in enumerate(of_one, 1) if loss <= both) for of_one in losses)
        return (
            f"{activation}, at the rates found: a training loss of {both:.2g} takes {off} epochs without and {on} with "
            "batch_norm."
        )

    def _find_best(self, name: str) -> float:
        return max(statistics.fmean(values) for values in self.fixed[name].values())

    def _learns(self, name: str, rate: float) -> bool:
        return statistics.fmean(self.fixed[name][rate]) > self._find_best(name) - 0.05

    def _plot(self) -> Figure:
        figure, (left, right) = plots.create_panels(2)
        epochs = list(range(1, self.epochs + 1))
        plots.plot_lines(
            left, epochs, {name: [run.get_curve("train_loss") for run in runs] for name, runs in self.found.items()}
        )
        right.set_xscale("log")
        plots.plot_lines(
            right, RATES, {name: plots.group_by_seed(by_rate, 100) for name, by_rate in self.fixed.items()}
        )
        plots.label_axes(left, "Training loss at the rate found", "epoch")
        plots.label_axes(right, "Test accuracy, %", "learning rate of Adam")
        plots.add_legend(figure, left, 3)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train each head at each rate."""
    epochs = effort.scale_epochs(15)
    heads = {name_head(a, kind): (a, chosen) for a in ACTIVATIONS for kind, chosen in NORMALIZATIONS.items()}
    found: dict[str, list[Run]] = {name: [] for name in heads}
    fixed: dict[str, dict[float, list[float]]] = {name: {rate: [] for rate in RATES} for name in heads}
    for seed in effort.seeds:
        parts = material.split(seed)
        for name, (activation, normalization) in heads.items():
            head = {"kind": "mlp", "hidden": [64] * 6, "activation": activation, "normalization": normalization}
            choices = {"epochs": epochs, "head": {**head, "dropout": 0.0}, "regularizers": ()}
            found[name].append(run(prepare(material, parts, seed, choices)))
            for rate in RATES:
                at_rate = {**choices, "optimizer": {"kind": "adam", "lr": rate}}
                fixed[name][rate].append(run(prepare(material, parts, seed, at_rate)).test_accuracy)
    return Result(found, fixed, epochs)


def name_head(activation: str, normalization: str) -> str:
    """Name a head by activation and normalization."""
    return activation if normalization == "none" else f"{activation} + {normalization}"
