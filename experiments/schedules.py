"""Schedules: the learning rate over the course of training.

The same head with one hidden layer of 100 units is trained by Nesterov's gradient under each schedule: at the rate that
the range test finds under a constant one, and at ten times that rate. The rest is as in the empty recipe, but without
augmented views and early stopping.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments import plots
from experiments.page import Report, Table
from experiments.running import find_rate, prepare, run
from experiments.spread import compare_with, format_percent, format_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Choices, Effort, Run

SCHEDULES: dict[str, Choices] = {
    "constant": {"kind": "constant"},
    "constant + warm-up": {"kind": "constant", "warmup_epochs": 3},
    "piecewise_constant": {"kind": "piecewise_constant"},
    "performance": {"kind": "performance", "patience": 2},
    "exponential": {"kind": "exponential"},
    "power": {"kind": "power"},
    "cosine": {"kind": "cosine"},
    "one_cycle": {"kind": "one_cycle"},
}
FACTORS = {"the rate found": 1.0, "ten times the rate found": 10.0}


@dataclass(frozen=True)
class Result:
    """Runs by factor and schedule, each a list over seeds."""

    runs: dict[str, dict[str, list[Run]]]
    epochs: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        tables = [
            Table(
                [f"at {words}", "training loss", "validation loss", "test accuracy"],
                [[name, *_format_cells(of_one)] for name, of_one in runs.items()],
            )
            for words, runs in self.runs.items()
        ]
        shows = "Rates, and validation loss, by epoch"
        note = f"All figures are those after {self.epochs} epochs."
        return Report(tables, self._plot(), shows, self._write_findings(), [note])

    def _write_findings(self) -> list[str]:
        findings = []
        for words, runs in self.runs.items():
            accuracies = {name: [run.test_accuracy for run in of_one] for name, of_one in runs.items()}
            losses = {name: statistics.fmean(_get_last(of_one, "train_loss")) for name, of_one in runs.items()}
            lowest = min(losses, key=losses.__getitem__)
            least = f"The lowest training loss is that of {lowest}, {losses[lowest]:.3f}"
            if lowest != "constant":
                least += f" against {losses['constant']:.3f} of constant"
            findings.append(f"At {words}: {compare_with('constant', accuracies)} {least}.")
        return findings

    def _plot(self) -> Figure:
        figure, axes = plots.create_panels(3)
        epochs = list(range(1, self.epochs + 1))
        found = self.runs["the rate found"]
        rates = {
            name: [[rate / run.lr for rate in run.get_curve("lr")] for run in runs] for name, runs in found.items()
        }
        plots.plot_lines(axes[0], epochs, rates)
        plots.label_axes(axes[0], "Rate, as a share of its peak", "epoch")
        for place, (words, runs) in zip(axes[1:], self.runs.items(), strict=True):
            losses = {name: [run.get_curve("validation_loss") for run in of_one] for name, of_one in runs.items()}
            plots.plot_lines(place, epochs, losses, band=False)
            plots.label_axes(place, f"Validation loss at {words}", "epoch")
        plots.add_legend(figure, axes[0], 8)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train under each schedule."""
    epochs = effort.scale_epochs(30)
    runs: dict[str, dict[str, list[Run]]] = {words: {name: [] for name in SCHEDULES} for words in FACTORS}
    for seed in effort.seeds:
        parts = material.split(seed)
        choices = {"epochs": epochs, "head": {"kind": "mlp", "hidden": [100]}}
        found = find_rate(prepare(material, parts, seed, {**choices, "optimizer": "nesterov"}))
        for words, factor in FACTORS.items():
            optimizer = {"kind": "nesterov", "lr": factor * found}
            for name, schedule in SCHEDULES.items():
                scheduled = {**choices, "optimizer": optimizer, "schedule": schedule}
                runs[words][name].append(run(prepare(material, parts, seed, scheduled)))
    return Result(runs, epochs)


def _get_last(runs: list[Run], figure: str) -> list[float]:
    return [run.get_curve(figure)[-1] for run in runs]


def _format_cells(runs: list[Run]) -> list[str]:
    losses = [format_spread(_get_last(runs, figure), ".3f") for figure in ("train_loss", "validation_loss")]
    return [*losses, format_percent([run.test_accuracy for run in runs])]
