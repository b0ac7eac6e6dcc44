"""Report of a run: injected faults, invariants, recovery times and repeated work."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from rich.table import Table
from sqlalchemy import select

from service.tables import Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from sqlalchemy.orm import Session

    from faults.injections import Death

SHOWN = 5
"""Violations of an invariant that are printed."""


def tabulate_faults(counts: Mapping[str, int], descriptions: Mapping[str, str]) -> Table:
    """Make a table of the injected faults and how often each was injected."""
    table = Table("fault", "times", "description", title="Faults")
    for name, times in counts.items():
        table.add_row(name, str(times), descriptions[name])
    return table


def tabulate_invariants(violations: Mapping[str, Sequence[str]]) -> Table:
    """Make a table of the invariants: each holds, or its first violations are listed."""
    table = Table("invariant", "", title="Invariants")
    for name, found in violations.items():
        result = "holds" if not found else "\n".join([f"VIOLATED {len(found)} times", *found[:SHOWN]])
        table.add_row(name, result)
    return table


def measure_recoveries(session: Session, deaths: Sequence[Death]) -> list[float]:
    """Measure the seconds from each death of a running job's process to the start of its next attempt."""
    found = []
    for death in deaths:
        for job in death.jobs:
            later = select(Event.time).where(Event.job_id == job, Event.kind == "started", Event.time > death.time)
            started = session.scalars(later.order_by(Event.seq).limit(1)).one_or_none()
            if started is not None:
                found.append(started - death.time)
    return found


def measure_repeated_epochs(session: Session) -> float:
    """Measure the share of all trained epochs that had been trained before."""
    seen: dict[str, set[int]] = defaultdict(set)
    epochs = repeated = 0
    for job, data in session.execute(select(Event.job_id, Event.data).where(Event.kind == "epoch")):
        epochs += 1
        repeated += data["epoch"] in seen[job]
        seen[job].add(data["epoch"])
    return repeated / epochs if epochs else 0.0


def print_costs(console: Console, session: Session, deaths: Sequence[Death]) -> None:
    """Print recovery times and the share of repeated epochs."""
    seconds = sorted(measure_recoveries(session, deaths))
    if seconds:
        console.print(
            f"{len(seconds)} running jobs lost their process; they ran again after {statistics.median(seconds):.1f} s "
            f"(median), {seconds[-1]:.1f} s at most."
        )
    console.print(f"{measure_repeated_epochs(session):.2%} of all epochs were trained again.")
