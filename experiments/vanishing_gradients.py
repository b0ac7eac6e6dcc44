"""Vanishing gradients: initialization and activation in a deep head.

Do logistic sigmoids with weights from N(0, 1) saturate, and do their gradients vanish with depth? Do Glorot's weights
with tanh, and He's with ReLU and ELU, hold variances level? A head of 20 hidden layers, each of 32 units, is measured
before its first step, on all training images at once: the standard deviation of each layer's outputs, and the root
mean square of its weights' gradient, as the training diagnostics report them. Then each is trained. The second table
repeats the first measurement with other widths.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import plots
from experiments.page import Report, Table
from experiments.running import prepare, run
from experiments.spread import compare_with, format_percent, format_powers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.material import Material, Split
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
"""Largest factor of change over all layers that counts as level."""


@dataclass(frozen=True)
class Look:
    """Measurements of a head before its first step, one per hidden layer, from below."""

    gradients: list[float]
    deviations: list[float]
    saturated: float | None
    """Share of saturated units over all layers; None if the activation does not saturate."""

    @property
    def gradient_ratio(self) -> float:
        """Gradient of the lowest layer over that of the topmost."""
        return self.gradients[0] / self.gradients[-1]

    @property
    def deviation_ratio(self) -> float:
        """Standard deviation of the topmost layer over that of the lowest."""
        return self.deviations[-1] / self.deviations[0]


@dataclass(frozen=True)
class Result:
    """Results by variant, each a list over seeds."""

    looks: dict[str, list[Look]]
    accuracies: dict[str, list[float]]
    by_width: dict[str, dict[int, list[float]]]
    """Gradient ratios."""
    epochs: int

    def report(self) -> Report:
        """Write tables, figure and findings."""
        rows = [self._format_row(name, looks) for name, looks in self.looks.items()]
        heads = ["head", "gradient, lowest / topmost layer", "deviation, topmost / lowest layer", "saturated units"]
        table = Table([*heads, f"test accuracy after {self.epochs} epochs"], rows)
        wide = [[name, *(format_powers(ratios[width]) for width in WIDTHS)] for name, ratios in self.by_width.items()]
        by_width = Table(["gradient, lowest / topmost layer", *(f"{width} units" for width in WIDTHS)], wide)
        return Report([table, by_width], self._plot(), "Deviation and gradient by layer", self._write_findings())

    def _format_row(self, name: str, looks: list[Look]) -> list[str]:
        shares = [look.saturated for look in looks if look.saturated is not None]
        return [
            name,
            format_powers([look.gradient_ratio for look in looks]),
            format_powers([look.deviation_ratio for look in looks]),
            format_percent(shares) if shares else "none",
            format_percent(self.accuracies[name]),
        ]

    def _plot(self) -> Figure:
        figure, (left, right) = plots.create_panels(2)
        layers = list(range(1, DEPTH + 1))
        deviations = {name: [look.deviations for look in looks] for name, looks in self.looks.items()}
        gradients = {name: [look.gradients for look in looks] for name, looks in self.looks.items()}
        for axes, curves in ((left, deviations), (right, gradients)):
            axes.set_yscale("log")
            plots.plot_lines(axes, layers, curves, geometric=True)
        plots.label_axes(left, "Standard deviation of outputs", "hidden layer, from below")
        plots.label_axes(right, "Gradient of the weights", "hidden layer, from below")
        plots.add_legend(figure, right, 5)
        return figure

    def _write_findings(self) -> list[str]:
        ratios = {name: _compute_middle([look.gradient_ratio for look in looks]) for name, looks in self.looks.items()}
        deviations = {
            name: _compute_middle([look.deviation_ratio for look in looks]) for name, looks in self.looks.items()
        }
        level = [name for name in self.looks if all(1 / LEVEL < r[name] < LEVEL for r in (ratios, deviations))]
        phrases = [
            f"{name} (10^{-math.log10(ratio):.1f} times)" if ratio else f"{name} (to zero)"
            for name, ratio in ratios.items()
            if ratio < 1 / LEVEL**2
        ]
        return [
            f"The lowest layer's gradient is more than {LEVEL**2:.0f} times smaller than the topmost's: "
            f"{', '.join(phrases) or 'nowhere'}.",
            f"Gradients and deviations stay within a factor of {LEVEL:.0f} over {DEPTH} layers: "
            f"{', '.join(level) or 'nowhere'}.",
            self._describe_saturation(),
            self._describe_width(),
            f"After {self.epochs} epochs, {compare_with(HISTORIC, self.accuracies)}",
        ]

    def _describe_saturation(self) -> str:
        shares = {
            name: statistics.fmean(look.saturated for look in looks if look.saturated is not None)
            for name, looks in self.looks.items()
            if any(look.saturated is not None for look in looks)
        }
        phrases = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        worst = max(shares, key=shares.__getitem__)
        return f"Saturated units: {phrases}; most are those of {worst}."

    def _describe_width(self) -> str:
        middles = {width: _compute_middle(self.by_width[HISTORIC][width]) for width in WIDTHS}
        vanish = [width for width, ratio in middles.items() if ratio < 1 / LEVEL]
        grow = [width for width, ratio in middles.items() if ratio > LEVEL]
        parts = [
            f"{words} with {', '.join(map(str, widths))} units a layer"
            for words, widths in (("shrink downwards", vanish), ("grow downwards", grow))
            if widths
        ]
        return f"Under {HISTORIC}, gradients {' and '.join(parts) or 'stay level at every width'}."


def measure(material: Material, effort: Effort) -> Result:
    """Measure each head, then train it."""
    epochs = effort.scale_epochs(25)
    looks: dict[str, list[Look]] = {name: [] for name in VARIANTS}
    accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
    ratios: dict[str, dict[int, list[float]]] = {name: {width: [] for width in WIDTHS} for name in VARIANTS}
    for seed in effort.seeds:
        parts = material.split(seed)
        for name, choices in VARIANTS.items():
            by_width = {width: inspect_head(material, parts, seed, choices, width) for width in WIDTHS}
            looks[name].append(by_width[WIDTH])
            for width, look in by_width.items():
                ratios[name][width].append(look.gradient_ratio)
            trained = prepare(material, parts, seed, {**build_choices(choices, WIDTH), "epochs": epochs})
            accuracies[name].append(run(trained).test_accuracy)
    return Result(looks, accuracies, ratios, epochs)


def build_choices(choices: Choices, width: int) -> Choices:
    """Build a recipe with the deep head and nothing that would change gradients."""
    head = {"kind": "mlp", "hidden": [width] * DEPTH, "dropout": 0.0, **choices}
    return {"head": head, "regularizers": ()}


def inspect_head(material: Material, parts: Split, seed: int, choices: Choices, width: int) -> Look:
    """Read the diagnostics of one step on all images, too small to change anything."""
    still = {"epochs": 1, "batch_size": len(parts.train.images), "optimizer": {"kind": "sgd", "lr": 1e-12}}
    done = run(prepare(material, parts, seed, {**build_choices(choices, width), **still}))
    layers: list[dict[str, Any]] = [layer for layer in done.diagnosis["layers"] if layer["layer"] != "output"]
    saturated = [layer["saturated"] for layer in layers if layer["saturated"] is not None]
    return Look(
        [layer["gradient_rms"] for layer in layers],
        [layer["activation_std"] for layer in layers],
        statistics.fmean(saturated) if saturated else None,
    )


def _compute_middle(values: list[float]) -> float:
    """Compute the geometric mean; zero if any value is zero."""
    return statistics.geometric_mean(values) if all(value > 0 for value in values) else 0.0
