"""Figure of the comparison: mean accuracy against seconds, a panel for each backbone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from benchmarks.quality.summary import summarize
from experiments.plots import COLOURS, create_panels, label_axes, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.quality.rows import Key, Row


def draw_figure(rows: Mapping[Key, Row], methods: Sequence[str], path: Path) -> None:
    """Draw the figure as SVG, of the cells and splits that all methods in it have."""
    shared = keep_shared(rows, methods)
    names = list(dict.fromkeys(key.backbone for key in shared))
    figure, panels = create_panels(max(1, len(names)))
    for axes, backbone in zip(panels, names, strict=False):
        of_one = {key: row for key, row in shared.items() if key.backbone == backbone}
        for number, method in enumerate(methods):
            summary = summarize(of_one, method)
            mean, margin = 100 * summary.accuracy.mean, 100 * summary.accuracy.margin
            style: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2, "color": COLOURS[number % len(COLOURS)]}
            axes.errorbar([summary.seconds], [mean], yerr=[0.0 if math.isinf(margin) else margin], **style)
            axes.annotate(method, (summary.seconds, mean), (4, 4), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.margins(x=0.3, y=0.15)
        label_axes(axes, backbone, "median seconds", "mean test accuracy, %")
    save(figure, path)


def keep_shared(rows: Mapping[Key, Row], methods: Sequence[str]) -> dict[Key, Row]:
    """Keep the rows of these methods in the cells and splits in which each of them has one."""
    return {
        key: row
        for key, row in rows.items()
        if key.method in methods and all(key._replace(method=method) in rows for method in methods)
    }
