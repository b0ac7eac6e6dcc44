"""Table of the comparison: medians, ranges, and paired ratios to Graft's cold job."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.peers.outcome import Outcome

COLD, WARM = "**Graft**, cold", "**Graft**, warm"
HEAD = (
    "job",
    "seconds",
    "with imports",
    "epochs",
    "seconds an epoch",
    "validation accuracy",
    "test accuracy",
    "times Graft's cold job",
    "times its later epoch",
)


def format_table(outcomes: Mapping[str, Sequence[Outcome]], failures: Mapping[str, str]) -> str:
    """Format a row for each job in Markdown; the n-th outcomes of all jobs were measured in one run, with one seed."""
    rows = [_row(name, of_one, outcomes[COLD]) for name, of_one in outcomes.items() if name not in failures]
    rows += [(name, f"failed: {why.replace('|', '/')}", *[""] * (len(HEAD) - 2)) for name, why in failures.items()]
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(name: str, outcomes: Sequence[Outcome], cold: Sequence[Outcome]) -> tuple[str, ...]:
    epochs = [outcome.epochs for outcome in outcomes if outcome.epochs is not None]
    epoch_seconds = [outcome.epoch_seconds for outcome in outcomes if outcome.epoch_seconds is not None]
    pairs = list(zip(outcomes, cold, strict=True))
    jobs = [one.seconds / other.seconds for one, other in pairs]
    later = [
        one.epoch_seconds / other.epoch_seconds for one, other in pairs if one.epoch_seconds and other.epoch_seconds
    ]
    return (
        name,
        _spread([outcome.seconds for outcome in outcomes], "{:.1f}"),
        _spread([outcome.process_seconds for outcome in outcomes], "{:.1f}"),
        f"{statistics.median(epochs):.0f}" if epochs else "",
        f"{statistics.median(epoch_seconds):.3g}" if epoch_seconds else "",
        _accuracy([outcome.validation for outcome in outcomes]),
        _accuracy([outcome.test for outcome in outcomes]),
        _spread(jobs, "{:.2f}"),
        f"{statistics.median(later):,.0f}" if later else "",
    )


def _spread(values: Sequence[float], form: str) -> str:
    """Format median and range."""
    median = form.format(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({form.format(min(values))} to {form.format(max(values))})"


def _accuracy(values: Sequence[float]) -> str:
    """Format mean and standard deviation over seeds, in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
