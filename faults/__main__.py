"""`python -m faults`: inject faults into a real deployment, and see that nothing is lost."""

from __future__ import annotations

import argparse
import inspect
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from faults import invariants, processes, report
from faults.deployment import deployed
from faults.injections import FAULTS, World
from faults.workload import Workload
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_FLIGHT = 6
"""Jobs that have not ended, at least."""
BETWEEN_SECONDS = (0.2, 1.0)
FINISH_SECONDS = 600.0


def run(folder: Path, seed: int, count: int, console: Console) -> bool:
    """Inject so many faults; says whether every invariant held."""
    draw = random.Random(seed)
    began = time.monotonic()
    console.print(f"Seed {seed}, {count} faults")
    with deployed(folder) as deployment, Client(deployment.address) as client:
        mark = deployment.mark
        console.print(f"Hosts: {', '.join(_said_of(host.name, host.sees) for host in deployment.hosts)}")
        if deployment.disk is None:
            console.print("No disk may be mounted here: none is filled")
        workload = Workload(deployment, client, draw, folder)
        workload.prepare()
        world = World(deployment, workload, draw)
        injected: Counter[str] = Counter()
        shares: Counter[str] = Counter()
        for number, fault in enumerate(_drawn(random.Random(seed), count), start=1):
            workload.keep(IN_FLIGHT)
            shares.update(_at_work(workload))
            console.print(f"{time.monotonic() - began:6.0f} s  {number:4} {fault.__name__}", highlight=False)
            fault(world)
            injected[fault.__name__] += 1
            time.sleep(draw.uniform(*BETWEEN_SECONDS))
        console.print("All faults are injected; waiting for what is left of the jobs")
        workload.finish(time.monotonic() + FINISH_SECONDS)
        violations = _violations(world)
        with deployment.database.reading() as session:
            report.say_costs(console, session, world.deaths)
    violations["no process is left"] = list(processes.marked(mark).values())
    console.print(report.injected(injected, {fault.__name__: inspect.getdoc(fault) or "" for fault in FAULTS}))
    console.print(report.held(violations))
    console.print(f"Jobs seen at work: {dict(shares)}")
    console.print(f"{time.monotonic() - began:.0f} s; again: make faults SEED={seed} FAULTS={count}")
    return not any(violations.values())


def _drawn(draw: random.Random, count: int) -> Iterator[Callable[[World], None]]:
    """All faults in random order, again and again: each comes about as often."""
    left: list[Callable[[World], None]] = []
    for _ in range(count):
        left = left or draw.sample(FAULTS, len(FAULTS))
        yield left.pop()


def _at_work(workload: Workload) -> Iterator[str]:
    """The hosts of the workers of running jobs."""
    return (by.split(".")[0] for status, by in workload.unfinished().values() if status == "running" and by)


def _violations(world: World) -> dict[str, list[str]]:
    deployment, workload = world.deployment, world.workload
    found: dict[str, list[str]] = {}
    with deployment.database.reading() as session:
        for check in invariants.IN_THE_DATABASE:
            found[check.__name__] = list(check(session))
    found["digests are those of undisturbed runs"] = list(
        invariants.digests_are_those_of_undisturbed_runs(deployment, workload)
    )
    found["only what is needed is kept"] = list(invariants.only_what_is_needed_is_kept(deployment.database))
    found["no file is left"] = list(invariants.no_file_is_left(deployment))
    found["no request hangs"] = world.hangs
    return found


def _said_of(name: str, sees: str) -> str:
    return name if sees.startswith("127.") else f"{name} (a network namespace of its own)"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="how many to inject")
    parser.add_argument("--seed", type=int, help="of what is drawn; another each time without it")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory(prefix="graft-faults-") as folder:
        return 0 if run(Path(folder), seed, chosen.faults, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
