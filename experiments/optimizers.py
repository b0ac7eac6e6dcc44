"""Optimizers: steps to the same loss.

How many steps does each optimizer need until the training loss is 1% of that of guessing? All see the same features
in the same batches, and the same head with one hidden layer of 100 units, without dropout or regularizers. Each is
tried at a grid of learning rates, two in a decade, and at the rate that the range test finds for it. The loss is the
mean of an epoch's steps, each before it changed the weights, so that it comes about half an epoch late; between epochs
it is taken to fall evenly, in its logarithm. The best rate is the one with which most seeds get there, then that of
fewest steps.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepare, run
from experiments.spread import Difference, format_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Effort

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
BATCH = 64
SHARE = 0.01
"""Loss to reach, as a share of the loss of guessing."""


@dataclass(frozen=True)
class Trial:
    """A training at one learning rate."""

    lr: float
    losses: list[float]
    """Training loss of each epoch."""
    steps: float
    """Steps until the loss was reached; infinite if it was not."""


@dataclass(frozen=True)
class Result:
    """Trials by optimizer, each a list over seeds."""

    grid: dict[str, dict[float, list[Trial]]]
    found: dict[str, list[Trial]]
    loss: float
    epochs: int
    steps_an_epoch: int

    def find_best_rate(self, name: str) -> float:
        """Find the best rate of the grid."""

        def rank(rate: float) -> tuple[int, float]:
            reached = _reached(self.grid[name][rate])
            return -len(reached), statistics.fmean(reached) if reached else math.inf

        return min(RATES, key=rank)

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = ["optimizer", "best lr", "steps at the best lr", "lr found", "steps at the lr found"]
        rows = [self._format_row(name) for name in self.grid]
        note = (
            f"The loss to reach is {self.loss:.3f}, within {self.epochs} epochs of {self.steps_an_epoch} steps; "
            f"what took longer is not in the means."
        )
        return Report(
            [Table(heads, rows)], self._plot(), "Loss by step, and steps by rate", self._write_findings(), [note]
        )

    def _format_row(self, name: str) -> list[str]:
        best, found = self.find_best_rate(name), self.found[name]
        lr = statistics.geometric_mean(trial.lr for trial in found)
        shown = f"{best:g}" if _reached(self.grid[name][best]) else "none"
        return [name, shown, _format_steps(self.grid[name][best]), f"{lr:.2g}", _format_steps(found)]

    def _write_findings(self) -> list[str]:
        bests = {name: self.grid[name][self.find_best_rate(name)] for name in self.grid}
        steps = {name: [trial.steps for trial in trials] for name, trials in bests.items()}
        there = [name for name in steps if math.isfinite(sum(steps[name]))]
        if not there:
            return ["No optimizer reached the loss with every seed."]
        fastest = min(there, key=lambda name: statistics.fmean(steps[name]))
        ties = [
            name
            for name in there
            if name != fastest and not Difference.from_pairs(steps[name], steps[fastest]).is_clear
        ]
        phrases = f"{fastest} needs fewest steps at its best rate, {statistics.fmean(steps[fastest]):.0f}"
        return [
            f"{phrases}; not clearly slower: {', '.join(ties) or 'none'}.",
            self._compare_with_sgd(steps),
            self._describe_range_test(steps),
        ]

    def _compare_with_sgd(self, steps: dict[str, list[float]]) -> str:
        missed = sum(map(math.isinf, steps["sgd"]))
        if missed:
            return f"sgd does not get there with {missed} of {len(steps['sgd'])} seeds at any rate of the grid."
        sgd = statistics.fmean(steps["sgd"])
        phrases = [
            f"{name} {sgd / statistics.fmean(of):.1f}"
            + ("" if Difference.from_pairs(of, steps["sgd"]).is_clear else " (no clear difference)")
            for name, of in steps.items()
            if name != "sgd" and math.isfinite(sum(of))
        ]
        return f"Times fewer steps than sgd, each at its best rate: {', '.join(phrases)}."

    def _describe_range_test(self, steps: dict[str, list[float]]) -> str:
        phrases = []
        for name, trials in self.found.items():
            if not math.isfinite(sum(steps[name])):
                continue
            reached = _reached(trials)
            cost = f"{statistics.fmean(reached) / statistics.fmean(steps[name]):.1f}" if reached else "never there"
            missed = f" (not there with {len(trials) - len(reached)} of {len(trials)} seeds)"
            phrases.append(f"{name} {cost}" + (missed if 0 < len(reached) < len(trials) else ""))
        return f"Times more steps at the rate that the range test finds than at the best one: {', '.join(phrases)}."

    def _plot(self) -> Figure:
        figure, (left, right) = plots.create_panels(2)
        steps = [self.steps_an_epoch * epoch for epoch in range(1, self.epochs + 1)]
        curves = {name: [trial.losses for trial in self.grid[name][self.find_best_rate(name)]] for name in self.grid}
        left.set_yscale("log")
        plots.plot_lines(left, steps, curves, geometric=True)
        left.axhline(self.loss, color=plots.INK, linewidth=0.7, linestyle=":")
        plots.label_axes(left, "Training loss, each at its best rate", "step")
        right.set_xscale("log")
        for number, (name, by_rate) in enumerate(self.grid.items()):
            reached = {rate: _reached(trials) for rate, trials in by_rate.items() if _reached(trials)}
            means = [statistics.fmean(values) for values in reached.values()]
            plots.plot_marks(right, list(reached), means, name, number)
        plots.label_axes(right, "Steps to the loss", "learning rate")
        plots.add_legend(figure, right, 6)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train with each optimizer at each rate."""
    epochs, loss = effort.scale_epochs(30), SHARE * math.log(len(material.images.classes))
    grid: dict[str, dict[float, list[Trial]]] = {name: {rate: [] for rate in RATES} for name in OPTIMIZERS}
    found: dict[str, list[Trial]] = {name: [] for name in OPTIMIZERS}
    for seed in effort.seeds:
        for name in OPTIMIZERS:
            for rate in RATES:
                grid[name][rate].append(run_trial(material, seed, {"kind": name, "lr": rate}, epochs, loss))
            found[name].append(run_trial(material, seed, {"kind": name}, epochs, loss))
    return Result(grid, found, loss, epochs, -(-len(material.split(0).train.images) // BATCH))


def run_trial(material: Material, seed: int, optimizer: dict[str, object], epochs: int, loss: float) -> Trial:
    """Train and count the steps until the loss is reached."""
    head = {"kind": "mlp", "hidden": [100], "dropout": 0.0}
    choices = {"epochs": epochs, "head": head, "optimizer": optimizer, "regularizers": (), "batch_size": BATCH}
    done = run(prepare(material, material.split(seed), seed, choices), may_diverge=True)
    losses = done.get_curve("train_loss")
    steps = math.inf if done.has_diverged else count_epochs_to(loss, losses) * done.steps_an_epoch
    padding = [losses[-1] if losses else math.nan] * (epochs - len(losses))
    return Trial(done.lr, losses + padding, steps)


def count_epochs_to(loss: float, losses: list[float]) -> float:
    """Count epochs until the loss is reached, interpolating logarithms linearly; infinite if it is not."""
    logarithms = [math.log(max(value, 1e-30) / loss) for value in losses]
    first = next((place for place, value in enumerate(logarithms) if value <= 0), None)
    if first is None:
        return math.inf
    if first == 0:
        return 1.0
    before, after = logarithms[first - 1 : first + 1]
    return first + before / (before - after)


def _reached(trials: list[Trial]) -> list[float]:
    return [trial.steps for trial in trials if math.isfinite(trial.steps)]


def _format_steps(trials: list[Trial]) -> str:
    reached = _reached(trials)
    if not reached:
        return "not reached"
    missed = len(trials) - len(reached)
    return format_spread(reached, ".0f") + (f"; {missed} of {len(trials)} not there" if missed else "")
