"""Pretraining of new layers: unsupervised and auxiliary, when labels are few.

Only 5, or 20, images a class have labels; all training images can be looked at. Do hidden layers that first learn
without labels, or with other labels, do better than hidden layers that do not, and better than none? A head of three
hidden layers, each of 100 units, is pretrained on all training images, then trained on those with labels; features
are standardized over all of them in every case. A restricted Boltzmann machine needs sigmoid units, so that it has a
baseline of its own. All are trained by Adam at its usual rate of 0.001, without regularizers: they start from the same
recipe but for their layers and for what these learned first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepare, pretrain_head, run
from experiments.spread import compare_with, format_percent

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from experiments.material import Material, Split
    from experiments.running import Choices, Effort

LABELLED = (5, 20)
"""Labelled images per class."""
ADAM: Choices = {"optimizer": {"kind": "adam", "lr": 0.001}, "regularizers": ()}
RELU: Choices = {**ADAM, "head": {"kind": "mlp", "hidden": [100] * 3, "activation": "relu"}}
SIGMOID: Choices = {**ADAM, "head": {"kind": "mlp", "hidden": [100] * 3, "activation": "sigmoid"}}
AUTOENCODER: Choices = {"kind": "autoencoder"}
VARIANTS: dict[str, Choices] = {
    "linear head": ADAM,
    "relu": RELU,
    "relu + autoencoder": {**RELU, "pretraining": AUTOENCODER},
    "relu + denoising autoencoder": {**RELU, "pretraining": {**AUTOENCODER, "noise": 0.5}},
    "relu + tied autoencoder": {**RELU, "pretraining": {**AUTOENCODER, "tied_weights": True}},
    "relu + rotation": {**RELU, "pretraining": {"kind": "rotation"}},
    "relu + other labels": {**RELU, "pretraining": {"kind": "other_labels", "dataset": "ds_other"}},
    "sigmoid": SIGMOID,
    "sigmoid + autoencoder": {**SIGMOID, "pretraining": AUTOENCODER},
    "sigmoid + Boltzmann machine": {**SIGMOID, "pretraining": {"kind": "restricted_boltzmann_machine"}},
}


@dataclass(frozen=True)
class Result:
    """Test accuracy by variant and images a class with labels, a list over seeds."""

    accuracies: dict[str, dict[int, list[float]]]
    other: str

    def report(self) -> Report:
        """Write tables, figure and findings."""
        heads = ["test accuracy", *(f"{each} labels a class" for each in LABELLED)]
        rows = [
            [name, *(format_percent(by_each[each]) for each in LABELLED)] for name, by_each in self.accuracies.items()
        ]
        note = f"The other labels are those of {self.other}."
        return Report([Table(heads, rows)], self._plot(), "Test accuracy", self._write_findings(), [note])

    def _write_findings(self) -> list[str]:
        findings = []
        for each in LABELLED:
            values = {name: by_each[each] for name, by_each in self.accuracies.items()}
            for baseline in ("relu", "sigmoid"):
                own = {name: of for name, of in values.items() if name.split(" + ")[0] == baseline}
                findings.append(f"{each} labels a class, {compare_with(baseline, own)}")
            findings.append(f"{each} labels a class, {compare_with('linear head', values)}")
        return findings

    def _plot(self) -> Figure:
        figure, axes = plots.create_panels(len(LABELLED), 3.0)
        for place, each in zip(axes, LABELLED, strict=True):
            plots.plot_points(place, {name: by_each[each] for name, by_each in self.accuracies.items()}, 100)
            plots.label_axes(place, f"Test accuracy, %, {each} labels a class", "")
        axes[-1].set_yticklabels([])
        return figure


def measure(material: Material, effort: Effort) -> Result:
    """Pretrain the variants that ask for it, then train each."""
    accuracies: dict[str, dict[int, list[float]]] = {name: {each: [] for each in LABELLED} for name in VARIANTS}
    for seed in effort.seeds:
        parts = material.split(seed)
        for name, chosen in VARIANTS.items():
            learned = initialize_head(material, parts, seed, chosen, effort.scale_epochs(20))
            for each in LABELLED:
                choices = {**chosen, "epochs": effort.scale_epochs(40), "pretraining": None}
                setting = prepare(material, parts.take_few(each, seed), seed, choices, standardized_by=parts.train)
                setting.model.head.load_state_dict(learned)
                accuracies[name][each].append(run(setting).test_accuracy)
    return Result(accuracies, material.other.words)


def initialize_head(
    material: Material, parts: Split, seed: int, chosen: Choices, epochs: int
) -> dict[str, torch.Tensor]:
    """Initialize the head, with or without pretraining; uses no labels of the task."""
    pretraining = chosen.get("pretraining")
    choices = {**chosen, "pretraining": {**pretraining, "epochs": epochs} if pretraining else None}
    setting = prepare(material, parts, seed, choices)
    if pretraining:
        pretrain_head(setting, material)
    return setting.model.head.state_dict()
