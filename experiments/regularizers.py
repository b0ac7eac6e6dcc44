"""Regularizers: a small training set, and the gap between training and test.

A head with one hidden layer of 100 units learns from 20 images a class, by Adam at the rate that the range test finds
without any regularizer. What does each regularizer do to the gap between training and test, and to the test itself?
Both are measured on plain views, without dropout, and with the same cross entropy. Early stopping looks at the images
to validate on; nothing else does.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments import plots
from experiments.page import Report, Table
from experiments.running import find_rate, prepare, run
from experiments.spread import Difference, compare_with, format_percent, format_spread
from models.catalog.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material
    from experiments.running import Choices, Effort, Run

EACH = 20
"""Training images per class."""
HEAD: Choices = {"kind": "mlp", "hidden": [100], "dropout": 0.0}
NONE: Choices = {"head": HEAD, "regularizers": ()}
NO = "no regularizer"
REGULARIZERS: dict[str, Choices] = {
    NO: {},
    "l1": {"regularizers": ("l1",)},
    "l2": {"regularizers": ("l2",)},
    "weight_decay": {"regularizers": ("weight_decay",)},
    "max_norm": {"regularizers": ("max_norm",)},
    "dropout 0.2": {"head": {**HEAD, "dropout": 0.2}},
    "dropout 0.5": {"head": {**HEAD, "dropout": 0.5}},
    "feature_noise 0.5": {"augmentations": ({"kind": "feature_noise", "std": 0.5},)},
    "mixup": {"augmentations": ("mixup",)},
    "augmented views": {"augmentations": Recipe().augmentations},
    "label_smoothing 0.1": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}},
    "averaging": {"averaging": {}},
    "early_stopping": {"early_stopping": {}},
}


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy of a run on training and test images."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float

    @classmethod
    def from_run(cls, done: Run) -> Evaluation:
        """Evaluate a finished run."""
        return cls(*done.evaluate(done.setting.parts.train), *done.evaluate(done.setting.parts.test))

    @property
    def loss_gap(self) -> float:
        """Test loss minus training loss."""
        return self.test_loss - self.train_loss

    @property
    def accuracy_gap(self) -> float:
        """Training accuracy minus test accuracy."""
        return self.train_accuracy - self.test_accuracy


@dataclass(frozen=True)
class Result:
    """Evaluations by regularizer, each a list over seeds."""

    judged: dict[str, list[Evaluation]]
    epochs: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = ["regularizer", "training accuracy", "test accuracy", "gap in points", "test loss", "gap in loss"]
        rows = [self._format_row(name, judged) for name, judged in self.judged.items()]
        shows = "Training and test accuracy, and test loss"
        return Report(
            [Table(heads, rows)], self._plot(), shows, self._write_findings(), [f"After {self.epochs} epochs:"]
        )

    def _format_row(self, name: str, judged: list[Evaluation]) -> list[str]:
        return [
            name,
            format_percent([one.train_accuracy for one in judged]),
            format_percent([one.test_accuracy for one in judged]),
            format_spread([100 * one.accuracy_gap for one in judged], ".1f"),
            format_spread([one.test_loss for one in judged]),
            format_spread([one.loss_gap for one in judged]),
        ]

    def _write_findings(self) -> list[str]:
        accuracies = {name: [one.test_accuracy for one in judged] for name, judged in self.judged.items()}
        return [
            f"Each alone, {compare_with(NO, accuracies)}",
            f"The gap in loss is clearly smaller than without: {self._list_smaller('loss_gap')}.",
            f"The gap in accuracy is clearly smaller than without: {self._list_smaller('accuracy_gap')}.",
            f"The test loss is clearly smaller than without: {self._list_smaller('test_loss')}.",
        ]

    def _list_smaller(self, figure: str) -> str:
        values = {name: [getattr(one, figure) for one in judged] for name, judged in self.judged.items()}
        gains = {name: Difference.from_pairs(of_one, values[NO]) for name, of_one in values.items() if name != NO}
        smaller = [name for name, gain in gains.items() if gain.is_clear and gain.mean < 0]
        smaller.sort(key=lambda name: statistics.fmean(values[name]))
        return ", ".join(smaller) or "nowhere"

    def _plot(self) -> Figure:
        figure, (left, right) = plots.create_panels(2, 3.4)
        for number, part in enumerate(("train", "test")):
            values = {name: [getattr(one, f"{part}_accuracy") for one in of] for name, of in self.judged.items()}
            words = {"train": "training", "test": "test"}[part]
            plots.plot_points(left, values, 100, color=plots.COLOURS[number], label=words)
        plots.add_legend(figure, left, 2)
        plots.plot_points(right, {name: [one.test_loss for one in of] for name, of in self.judged.items()})
        right.set_yticklabels([])
        plots.label_axes(left, "Accuracy, %", "")
        plots.label_axes(right, "Test loss", "")
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train with each regularizer alone."""
    epochs = effort.scale_epochs(60)
    judged: dict[str, list[Evaluation]] = {name: [] for name in REGULARIZERS}
    for seed in effort.seeds:
        parts = material.split(seed).take_few(EACH, seed)
        choices = {**NONE, "epochs": epochs}
        found = find_rate(prepare(material, parts, seed, choices))
        for name, chosen in REGULARIZERS.items():
            regularized = {**choices, "optimizer": {"kind": "adam", "lr": found}, **chosen}
            judged[name].append(Evaluation.from_run(run(prepare(material, parts, seed, regularized))))
    return Result(judged, epochs)
