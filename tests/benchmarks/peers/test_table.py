"""The table's arithmetic: medians, spreads, and ratios of what was measured one after another."""

from __future__ import annotations

from benchmarks.peers.outcome import Outcome
from benchmarks.peers.table import COLD, HEAD, WARM, format_table


def outcome(seconds: float, epoch_seconds: float | None, test: float) -> Outcome:
    """An outcome with four seconds of imports."""
    return Outcome(seconds + 4.0, seconds, 10 if epoch_seconds else None, epoch_seconds, 0.5, test)


def cells(name: str, printed: str) -> dict[str, str]:
    """The row that starts with this name, by the table's head."""
    row = next(line for line in printed.splitlines() if line.startswith(f"| {name} |"))
    return dict(zip(HEAD, (cell.strip() for cell in row.strip("|").split("|")), strict=True))


def test_ratios_are_medians_of_pairs() -> None:
    cold = [outcome(10.0, 0.01, 0.7), outcome(20.0, 0.02, 0.8), outcome(40.0, 0.01, 0.9)]
    loop = [outcome(100.0, 10.0, 0.6), outcome(100.0, 10.0, 0.7), outcome(120.0, 30.0, 0.8)]
    row = cells("loop", format_table({COLD: cold, "loop": loop}, {}))
    assert row["seconds"] == "100.0 (100.0 to 120.0)"
    assert row["with imports"] == "104.0 (104.0 to 124.0)"
    assert row["seconds an epoch"] == "10"
    assert row["test accuracy"] == "70.0 ± 10.0"
    assert row["times Graft's cold job"] == "5.00 (3.00 to 10.00)"
    assert row["times its later epoch"] == "1,000"


def test_one_run_has_no_spread_and_no_epochs_are_left_empty() -> None:
    printed = format_table({COLD: [outcome(10.0, None, 0.7)], "probe": [outcome(15.0, None, 0.8)]}, {})
    row = cells("probe", printed)
    assert (row["seconds"], row["test accuracy"], row["times Graft's cold job"]) == ("15.0", "80.0", "1.50")
    assert row["epochs"] == row["seconds an epoch"] == row["times its later epoch"] == ""


def test_a_peer_that_failed_says_why_and_shows_no_figures() -> None:
    cold, warm = [outcome(10.0, 0.1, 0.7)] * 2, [outcome(1.0, 0.1, 0.7)] * 2
    printed = format_table({COLD: cold, WARM: warm, "peer": [outcome(9.0, 0.1, 0.7)]}, {"peer": "no a|b"})
    assert cells("peer", printed)["seconds"] == "failed: no a/b"
    assert printed.count("| peer |") == 1
