"""Figures: small, plain, on a light ground; the same numbers give the same file to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

COLOURS = ("#1f5f8b", "#d1603d", "#3a8f5c", "#8a5a9e", "#c79a1e", "#5b6770", "#b8477d", "#3fa7a3")
INK, GROUND = "#2b2f33", "#fbfaf7"
LOOK: dict[Any, Any] = {
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9,
    "axes.titlepad": 5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "grid.color": "#e3e0d8",
    "grid.linewidth": 0.6,
    "font.size": 8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "svg.fonttype": "none",
    "svg.hashsalt": "graft",
}

mpl.rcParams.update(LOOK)  # nobody else draws in these processes


def create_panels(count: int, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Create a figure with panels side by side."""
    figure = Figure(figsize=(3.7 * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def plot_lines(
    axes: Axes,
    x: Sequence[float],
    curves: Mapping[str, Sequence[Sequence[float]]],
    geometric: bool = False,
    band: bool = True,
) -> None:
    """Plot a line for each name: the mean over its seeds, with or without a band of one standard deviation.

    Where the scale is logarithmic, mean and deviation are those of the logarithms.
    """
    for number, (name, seeds) in enumerate(curves.items()):
        values = np.array(seeds, float)
        if geometric:
            values = np.log10(np.maximum(values, 1e-30))
        middle, reach = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else 0.0 * values[0]
        low, high = middle - reach, middle + reach
        if geometric:
            middle, low, high = 10**middle, 10**low, 10**high
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(x, middle, label=name, color=colour)
        if band:
            axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def plot_marks(axes: Axes, x: Sequence[float], y: Sequence[float], name: str, number: int) -> None:
    """Plot a line with marks, in the colour of this number."""
    axes.plot(x, y, label=name, color=COLOURS[number % len(COLOURS)], marker="o", markersize=3)


def plot_points(axes: Axes, groups: Mapping[str, Sequence[float]], scale: float = 1.0, **marks: Any) -> None:
    """Plot a point with an error bar of one standard deviation for each name, from above."""
    places = np.arange(len(groups))
    middles = [scale * float(np.mean(values)) for values in groups.values()]
    reaches = [scale * float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in groups.values()]
    style: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2, "elinewidth": 1, "color": COLOURS[0], **marks}
    axes.errorbar(middles, places, xerr=reaches, **style)
    axes.set_yticks(places, list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def group_by_seed(values: Mapping[Any, Sequence[float]], scale: float = 1.0) -> list[list[float]]:
    """Turn values by x and seed into a curve for each seed."""
    return [[scale * value for value in curve] for curve in zip(*values.values(), strict=True)]


def label_axes(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Set title and axis labels."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def add_legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Add a legend below the panels."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, without a date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
