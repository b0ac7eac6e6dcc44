"""Summary of a table: mean accuracies with 95% intervals over splits, paired differences, pooled calibration error.

Cells are pairs of a set and a backbone. A method is compared with the empty recipe on the cells and splits that both
have. The pooled mean is over cells, split by split, so that its interval is over splits as well.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.spread import Difference
from models.evaluation.calibration import BINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.quality.rows import Key, Row

BASELINE = "empty"
HEADER = """\
| method | cells | splits | accuracy, % | to the empty recipe, points | median seconds | CPU seconds | ECE, % |
|---|---|---|---|---|---|---|---|"""


class Summary(NamedTuple):
    """Figures of a method over cells and splits."""

    cells: int
    splits: int
    accuracy: Difference
    """Mean, with half of its 95% interval; infinite with one split."""
    gain: Difference | None
    """Paired difference to the empty recipe; None where no cell has both."""
    seconds: float
    cpu_seconds: float
    calibration_error: float | None
    """Of the predictions of all cells and splits together; None where a method does not tell probabilities."""


def select(rows: Mapping[Key, Row], image_size: int, budget: float | None) -> dict[Key, Row]:
    """Select the rows of one protocol."""
    return {key: row for key, row in rows.items() if (key.image_size, key.budget) == (image_size, budget)}


def summarize(rows: Mapping[Key, Row], method: str) -> Summary:
    """Summarize the rows of a method, all of one protocol."""
    ours = {key: row for key, row in rows.items() if key.method == method}
    shared = {key: row for key, row in ours.items() if key._replace(method=BASELINE) in rows}
    gain = None
    if shared and method != BASELINE:
        of_empty = {key: rows[key._replace(method=BASELINE)] for key in shared}
        gain = Difference.from_pairs(average_splits(shared), average_splits(of_empty))
    means = average_splits(ours)
    confidences = np.array([one for row in ours.values() for one in row.confidences])
    right = np.array([mark == "1" for row in ours.values() for mark in row.right])
    return Summary(
        cells=len({(key.set, key.backbone) for key in ours}),
        splits=len(means),
        accuracy=Difference.from_pairs(means, [0.0] * len(means)),
        gain=gain,
        seconds=statistics.median(row.seconds for row in ours.values()),
        cpu_seconds=statistics.median(row.cpu_seconds for row in ours.values()),
        calibration_error=compute_pooled_error(confidences, right) if len(confidences) else None,
    )


def average_splits(rows: Mapping[Key, Row]) -> list[float]:
    """Average the accuracy over the cells of each split, in the order of splits.

    Splits that lack a cell are left out, for their mean would be one of other cells, unless all lack some.
    """
    by_split: dict[int, list[float]] = defaultdict(list)
    for key, row in rows.items():
        by_split[key.split].append(row.accuracy)
    most = max(map(len, by_split.values()))
    return [statistics.fmean(of_one) for _, of_one in sorted(by_split.items()) if len(of_one) == most]


def compute_pooled_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Compute the expected calibration error of confidences (n,): Σ_b n_b/n·|right_b/n_b - mean p_b| over 15 bins."""
    bins = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(bins, confidences - right, minlength=BINS)).sum() / len(confidences))


def format_row(method: str, summary: Summary) -> str:
    """Format a row of the table of methods."""
    error = "" if summary.calibration_error is None else f"{100 * summary.calibration_error:.1f}"
    gain = "" if summary.gain is None else summary.gain.format_points()
    figures = f"{summary.seconds:.0f} | {summary.cpu_seconds:.0f} | {error}"
    return f"| {method} | {summary.cells} | {summary.splits} | {format_mean(summary.accuracy)} | {gain} | {figures} |"


def format_mean(mean: Difference) -> str:
    """Format a mean in percent, with half of its interval where there is one."""
    margin = "" if math.isinf(mean.margin) else f" ± {100 * mean.margin:.1f}"
    return f"{100 * mean.mean:.1f}{margin}"


def format_methods(rows: Mapping[Key, Row], methods: Sequence[str]) -> str:
    """Format the table of methods over all cells."""
    there = [method for method in methods if any(key.method == method for key in rows)]
    return "\n".join([HEADER, *(format_row(method, summarize(rows, method)) for method in there)])


def format_cells(rows: Mapping[Key, Row], methods: Sequence[str]) -> str:
    """Format the table of accuracies, cell by cell."""
    there = [method for method in methods if any(key.method == method for key in rows)]
    cells = list(dict.fromkeys((key.set, key.backbone) for key in rows))
    lines = [f"| set | backbone | {' | '.join(there)} |", "|" + "---|" * (2 + len(there))]
    for one, backbone in cells:
        of_cell = {key: row for key, row in rows.items() if (key.set, key.backbone) == (one, backbone)}
        figures = [
            format_mean(summarize(of_cell, method).accuracy) if any(key.method == method for key in of_cell) else ""
            for method in there
        ]
        lines.append(f"| {one} | {backbone} | {' | '.join(figures)} |")
    return "\n".join(lines)
