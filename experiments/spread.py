"""Statistics over seeds: mean and standard deviation, and paired differences with confidence intervals.

Two variants are compared seed by seed, since both have the same split. A difference is clear where its 95% interval by
Student's t leaves out zero.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments.running import Run

T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""97.5% quantiles of Student's distribution by degrees of freedom; with more, the normal distribution's is close."""


@dataclass(frozen=True)
class Difference:
    """A paired difference of two variants over the same seeds."""

    mean: float
    margin: float
    """Half of the 95% interval; infinite with one seed."""

    @classmethod
    def from_pairs(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        """Subtract theirs from ours, seed by seed."""
        differences = [one - other for one, other in zip(ours, theirs, strict=True)]
        mean, degrees = statistics.fmean(differences), len(differences) - 1
        if not degrees or not all(map(math.isfinite, differences)):
            return cls(mean, math.inf)
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        return cls(mean, T_95.get(degrees, 2.2) * error)

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes zero."""
        return abs(self.mean) > self.margin

    def format_points(self) -> str:
        """Format in percentage points, with sign and margin."""
        margin = "" if math.isinf(self.margin) else f" ± {100 * self.margin:.1f}"
        return f"{100 * self.mean:+.1f}{margin}"


def compute_deviation(values: Sequence[float]) -> float:
    """Compute the standard deviation; zero for one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def format_spread(values: Sequence[float], form: str = ".2f") -> str:
    """Format mean and standard deviation."""
    return f"{statistics.fmean(values):{form}} ± {compute_deviation(values):{form}}"


def format_percent(values: Sequence[float]) -> str:
    """Format mean and standard deviation of shares in percent."""
    return f"{100 * statistics.fmean(values):.1f}% ± {100 * compute_deviation(values):.1f}"


def format_powers(values: Sequence[float]) -> str:
    """Format geometric mean and deviation of positive numbers as powers of ten."""
    logarithms = [math.log10(value) if value > 0 else -math.inf for value in values]
    if not all(map(math.isfinite, logarithms)):
        return "0"
    return f"10^({format_spread(logarithms, '.1f')})"


def accuracies(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[float]]:
    """Collect the test accuracy of each run, by name."""
    return {name: [run.test_accuracy for run in of_one] for name, of_one in runs.items()}


def compare_with(baseline: str, values: Mapping[str, Sequence[float]], what: str = "test accuracy") -> str:
    """Write the end of a sentence: which shares are clearly above the baseline's, which below, and which neither."""
    found: dict[str, list[str]] = {"above": [], "below": [], "level": []}
    for name, of_one in values.items():
        if name == baseline:
            continue
        difference = Difference.from_pairs(of_one, values[baseline])
        kind = "level" if not difference.is_clear else "above" if difference.mean > 0 else "below"
        found[kind].append(f"{name} ({difference.format_points()})")
    parts = [
        f"clearly {kind} {baseline}: {', '.join(names)}" for kind, names in found.items() if names and kind != "level"
    ]
    if not parts:
        parts = [f"nothing is clearly above or below {baseline}"]
    if found["level"]:
        parts.append(f"no clear difference: {', '.join(found['level'])}")
    return f"in points of {what}, {'; '.join(parts)}."
