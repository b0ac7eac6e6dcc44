"""Vanishing gradients: initialization and activation in a deep head.

Do logistic sigmoids with weights from N(0, 1) saturate, and do their gradients vanish with depth? Do Glorot's weights
with tanh, and He's with ReLU and ELU, hold variances level? A head of 20 hidden layers, each of 32 units, is looked at
before its first step, on all training images at once: how far apart the units of a layer lie (the standard deviation
of what they say), and how large the gradient of its weights is (root mean square), as the training doctor reports them.
Then each is trained. The second table repeats the first look with other widths.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepared, run
from experiments.spread import against, percent, powers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material, Parts
    from experiments.running import Choices, Effort

DEPTH, WIDTH = 20, 32
WIDTHS = (16, 32, 64, 128, 512)
VARIANTS: dict[str, Choices] = {
    "sigmoid + N(0, 1)": {"activation": "sigmoid", "initializer": "normal"},
    "sigmoid + Glorot": {"activation": "sigmoid", "initializer": "glorot_uniform"},
    "tanh + Glorot": {"activation": "tanh", "initializer": "glorot_uniform"},
    "relu + He": {"activation": "relu", "initializer": "he_normal"},
    "elu + He": {"activation": "elu", "initializer": "he_normal"},
}
HISTORIC = "sigmoid + N(0, 1)"
LEVEL = 10.0
"""What changes by less than this factor over all layers counts as level."""


@dataclass(frozen=True)
class Look:
    """At a head before its first step: figures of each hidden layer, from below."""

    gradients: list[float]
    deviations: list[float]
    saturated: float | None
    """Share of the units that are saturated, over all layers; none where the activation does not saturate."""

    @property
    def gradient_ratio(self) -> float:
        """The lowest layer's gradient, over that of the topmost."""
        return self.gradients[0] / self.gradients[-1]

    @property
    def deviation_ratio(self) -> float:
        """The topmost layer's standard deviation, over that of the lowest."""
        return self.deviations[-1] / self.deviations[0]


@dataclass(frozen=True)
class Result:
    """By variant, each a list over seeds."""

    looks: dict[str, list[Look]]
    accuracies: dict[str, list[float]]
    by_width: dict[str, dict[int, list[float]]]
    """Gradient ratios."""
    epochs: int

    def report(self) -> Report:
        """Tables, figure and findings."""
        rows = [self._row(name, looks) for name, looks in self.looks.items()]
        heads = ["head", "gradient, lowest / topmost layer", "deviation, topmost / lowest layer", "saturated units"]
        table = Table([*heads, f"test accuracy after {self.epochs} epochs"], rows)
        wide = [[name, *(powers(ratios[width]) for width in WIDTHS)] for name, ratios in self.by_width.items()]
        by_width = Table(["gradient, lowest / topmost layer", *(f"{width} units" for width in WIDTHS)], wide)
        return Report([table, by_width], self._figure(), "Deviation and gradient by layer", self._findings())

    def _row(self, name: str, looks: list[Look]) -> list[str]:
        shares = [look.saturated for look in looks if look.saturated is not None]
        return [
            name,
            powers([look.gradient_ratio for look in looks]),
            powers([look.deviation_ratio for look in looks]),
            percent(shares) if shares else "none",
            percent(self.accuracies[name]),
        ]

    def _figure(self) -> Figure:
        figure, (left, right) = plots.panels(2)
        layers = list(range(1, DEPTH + 1))
        deviations = {name: [look.deviations for look in looks] for name, looks in self.looks.items()}
        gradients = {name: [look.gradients for look in looks] for name, looks in self.looks.items()}
        for axes, curves in ((left, deviations), (right, gradients)):
            axes.set_yscale("log")
            plots.lines(axes, layers, curves, geometric=True)
        plots.titled(left, "Deviation of what the units say", "hidden layer, from below")
        plots.titled(right, "Gradient of the weights", "hidden layer, from below")
        plots.legend(figure, right, 5)
        return figure

    def _findings(self) -> list[str]:
        ratios = {name: _middle([look.gradient_ratio for look in looks]) for name, looks in self.looks.items()}
        deviations = {name: _middle([look.deviation_ratio for look in looks]) for name, looks in self.looks.items()}
        level = [name for name in self.looks if all(1 / LEVEL < r[name] < LEVEL for r in (ratios, deviations))]
        said = [
            f"{name} (10^{-math.log10(ratio):.1f} times)" if ratio else f"{name} (to zero)"
            for name, ratio in ratios.items()
            if ratio < 1 / LEVEL**2
        ]
        return [
            f"The lowest layer's gradient is more than {LEVEL**2:.0f} times smaller than the topmost's: "
            f"{', '.join(said) or 'nowhere'}.",
            f"Gradients and deviations stay within a factor of {LEVEL:.0f} over {DEPTH} layers: "
            f"{', '.join(level) or 'nowhere'}.",
            self._of_saturation(),
            self._of_width(),
            f"After {self.epochs} epochs, {against(HISTORIC, self.accuracies)}",
        ]

    def _of_saturation(self) -> str:
        shares = {
            name: statistics.fmean(look.saturated for look in looks if look.saturated is not None)
            for name, looks in self.looks.items()
            if any(look.saturated is not None for look in looks)
        }
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        worst = max(shares, key=shares.__getitem__)
        return f"Saturated units: {said}; most are those of {worst}."

    def _of_width(self) -> str:
        middles = {width: _middle(self.by_width[HISTORIC][width]) for width in WIDTHS}
        vanish = [width for width, ratio in middles.items() if ratio < 1 / LEVEL]
        grow = [width for width, ratio in middles.items() if ratio > LEVEL]
        parts = [
            f"{words} with {', '.join(map(str, widths))} units a layer"
            for words, widths in (("shrink downwards", vanish), ("grow downwards", grow))
            if widths
        ]
        return f"Under {HISTORIC}, gradients {' and '.join(parts) or 'stay level at every width'}."


def measure(material: Material, effort: Effort) -> Result:
    """Look at each head, then train it."""
    epochs = effort.epochs(25)
    looks: dict[str, list[Look]] = {name: [] for name in VARIANTS}
    accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
    ratios: dict[str, dict[int, list[float]]] = {name: {width: [] for width in WIDTHS} for name in VARIANTS}
    for seed in effort.seeds:
        parts = material.parts(seed)
        for name, choices in VARIANTS.items():
            by_width = {width: look_at(material, parts, seed, choices, width) for width in WIDTHS}
            looks[name].append(by_width[WIDTH])
            for width, look in by_width.items():
                ratios[name][width].append(look.gradient_ratio)
            trained = prepared(material, parts, seed, {**deep(choices, WIDTH), "epochs": epochs})
            accuracies[name].append(run(trained).test_accuracy)
    return Result(looks, accuracies, ratios, epochs)


def deep(choices: Choices, width: int) -> Choices:
    """A recipe with the deep head, and nothing that would change gradients."""
    head = {"kind": "mlp", "hidden": [width] * DEPTH, "dropout": 0.0, **choices}
    return {"head": head, "regularizers": ()}


def look_at(material: Material, parts: Parts, seed: int, choices: Choices, width: int) -> Look:
    """What the doctor says of one step on all images, too small to change anything."""
    still = {"epochs": 1, "batch_size": len(parts.train.images), "optimizer": {"kind": "sgd", "lr": 1e-12}}
    done = run(prepared(material, parts, seed, {**deep(choices, width), **still}))
    layers: list[dict[str, Any]] = [layer for layer in done.diagnosis["layers"] if layer["layer"] != "output"]
    saturated = [layer["saturated"] for layer in layers if layer["saturated"] is not None]
    return Look(
        [layer["gradient_rms"] for layer in layers],
        [layer["activation_std"] for layer in layers],
        statistics.fmean(saturated) if saturated else None,
    )


def _middle(values: list[float]) -> float:
    """The geometric mean; nothing where one is."""
    return statistics.geometric_mean(values) if all(value > 0 for value in values) else 0.0
