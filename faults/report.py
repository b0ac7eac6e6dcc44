"""The report: what was injected, what held, and what it cost."""

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


def injected(counts: Mapping[str, int], described: Mapping[str, str]) -> Table:
    """How often each fault was injected."""
    table = Table("fault", "times", "what it is", title="Faults")
    for name, times in counts.items():
        table.add_row(name, str(times), described[name])
    return table


def held(violations: Mapping[str, Sequence[str]]) -> Table:
    """Which invariants held."""
    table = Table("invariant", "", title="Invariants")
    for name, found in violations.items():
        said = "holds" if not found else "\n".join([f"VIOLATED {len(found)} times", *found[:SHOWN]])
        table.add_row(name.replace("_", " "), said)
    return table


def recoveries(session: Session, deaths: Sequence[Death]) -> list[float]:
    """Seconds from each death of a running job's process to the start of its next attempt."""
    found = []
    for death in deaths:
        for job in death.jobs:
            later = select(Event.time).where(Event.job_id == job, Event.kind == "started", Event.time > death.time)
            started = session.scalars(later.order_by(Event.seq).limit(1)).one_or_none()
            if started is not None:
                found.append(started - death.time)
    return found


def work_done_twice(session: Session) -> float:
    """Share of all epochs that were trained again."""
    seen: dict[str, set[int]] = defaultdict(set)
    epochs = again = 0
    for job, data in session.execute(select(Event.job_id, Event.data).where(Event.kind == "epoch")):
        epochs += 1
        again += data["epoch"] in seen[job]
        seen[job].add(data["epoch"])
    return again / epochs if epochs else 0.0


def say_costs(console: Console, session: Session, deaths: Sequence[Death]) -> None:
    """What the faults cost."""
    seconds = sorted(recoveries(session, deaths))
    if seconds:
        console.print(
            f"{len(seconds)} running jobs lost their process; they ran again after {statistics.median(seconds):.1f} s "
            f"(median), {seconds[-1]:.1f} s at most."
        )
    console.print(f"{work_done_twice(session):.2%} of all epochs were trained again.")
