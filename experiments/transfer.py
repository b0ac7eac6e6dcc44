"""Transfer: a frozen backbone against training from scratch.

What is a pretrained trunk worth at 5, 20 and 80 images a class? A linear head on the frozen backbone learns from
them, and so does a whole network of the same architecture that starts from random weights (cut: none), on the same
images, augmented alike. A whole network takes long to train, so that it sees its images small; the frozen backbone
sees them once as small, once at its own size. The network from scratch is trained by Adam with a peak rate of 0.003, a
one-cycle schedule and batches of 16; its BatchNorm learns, and its statistics see the images once before that.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepare, run
from experiments.spread import Difference, format_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material, Network, Split
    from experiments.running import Choices, Effort
    from models.training.inputs import Subset

EACH = {5: 200, 20: 400, 80: 800}
"""Steps of the training from scratch, by images per class."""
BATCH = 16
SCRATCH: Choices = {
    "cut": {"kind": "none", "lr_scale": 1.0, "lr_decay": 1.0, "batch_norm": "trained"},
    "optimizer": {"kind": "adam", "lr": 0.003},
    "schedule": "one_cycle",
    "regularizers": ({"kind": "l2", "strength": 1e-4},),
    "batch_size": BATCH,
}


@dataclass(frozen=True)
class Result:
    """Test accuracy by method and images per class, a list over seeds."""

    accuracies: dict[str, dict[int, list[float]]]
    small: int
    own: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = ["test accuracy", *(f"{each} images a class" for each in EACH)]
        rows = [[name, *(format_percent(by_each[each]) for each in EACH)] for name, by_each in self.accuracies.items()]
        note = (
            f"Small is {self.small} x {self.small} pixels, its own size {self.own} x {self.own}. The whole network "
            f"takes about {', '.join(map(str, EACH.values()))} steps."
        )
        findings = [self._compare(name, each) for name in list(self.accuracies)[1:] for each in EACH]
        return Report([Table(heads, rows)], self._plot(), "Test accuracy by images a class", findings, [note])

    def _compare(self, name: str, each: int) -> str:
        ours, theirs = self.accuracies[name][each], self.accuracies["from scratch"][each]
        gain = Difference.from_pairs(ours, theirs)
        words = "no clear difference"
        if gain.is_clear:
            words = f"the frozen trunk is clearly {'better' if gain.mean > 0 else 'worse'}"
        means = f"{statistics.fmean(ours):.1%} against {statistics.fmean(theirs):.1%}"
        return f"{each} images a class, {name} against from scratch: {words}, {means} ({gain.format_points()} points)."

    def _plot(self) -> Figure:
        figure, (axes,) = plots.create_panels(1)
        axes.set_xscale("log")
        places = list(EACH)
        plots.plot_lines(axes, places, {name: plots.group_by_seed(of, 100) for name, of in self.accuracies.items()})
        axes.set_xticks(places, list(map(str, places)))
        axes.minorticks_off()
        plots.label_axes(axes, "Test accuracy, %", "images a class")
        plots.add_legend(figure, axes, 3)
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Train by each method with each number of images."""
    small, own = material.load_network(material.small), material.frozen
    names = ("from scratch", "frozen, small", "frozen, own size")
    accuracies: dict[str, dict[int, list[float]]] = {name: {each: [] for each in EACH} for name in names}
    for seed in effort.seeds:
        for each, steps in EACH.items():
            parts = material.split(seed).take_few(each, seed)
            shared: Choices = {"augmentations": material.changes}
            frozen = {**shared, "epochs": effort.scale_epochs(60)}
            for name, network in (("frozen, small", small), ("frozen, own size", own)):
                accuracies[name][each].append(run(prepare(material, parts, seed, frozen, network)).test_accuracy)
            epochs = math.ceil(steps / math.ceil(len(parts.train.images) / BATCH))
            choices = {**shared, **SCRATCH, "epochs": effort.scale_epochs(epochs)}
            accuracies["from scratch"][each].append(train_from_scratch(material, parts, seed, choices))
    return Result(accuracies, material.small, own.preprocessing.side)


def train_from_scratch(material: Material, parts: Split, seed: int, choices: Choices) -> float:
    """Train a whole network on these images alone; return its test accuracy."""
    network = material.load_network(material.small, untrained=seed)
    reset_batch_norm_statistics(material, network, parts.train)
    # Nothing is chosen by the validation images, and evaluating all of them in each epoch would take longest.
    briefly = replace(parts, validation=parts.train)
    return run(prepare(material, briefly, seed, choices, network)).test_accuracy


@torch.no_grad()
def reset_batch_norm_statistics(material: Material, network: Network, examples: Subset) -> None:
    """Recompute BatchNorm's statistics on these images, since features are standardized before the first step."""
    source, top = material.source((), network), network.cut_network.top
    norms = [module for module in top.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    top.train()
    for _, rows in source.read_batches(examples.images, 0, BATCH):
        if len(rows) > 1:
            top(source.to_input(rows))
    top.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
