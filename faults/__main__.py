"""Inject faults into a real deployment and check that nothing is lost: `python -m faults`."""

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
from faults.deployment import deploy
from faults.injections import FAULTS, World
from faults.workload import Workload
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faults.hosts import Host

IN_FLIGHT = 6
"""Jobs that have not ended, at least."""
BETWEEN_SECONDS = (0.2, 1.0)
"""Pause between two faults."""
FINISH_SECONDS = 600.0
"""Time for the last jobs after the last fault."""
END_SECONDS = 5.0
"""Time for processes to end after their parent."""


def run(folder: Path, seed: int, count: int, console: Console) -> bool:
    """Inject `count` faults; true if every invariant holds."""
    draw = random.Random(seed)
    began = time.monotonic()
    console.print(f"Seed {seed}, {count} faults")
    with deploy(folder) as deployment, Client(deployment.address) as client:
        mark = deployment.mark
        console.print(f"Hosts: {', '.join(_describe(host) for host in deployment.hosts)}")
        if deployment.disk is None:
            console.print("This process may not mount a disk: none is filled")
        workload = Workload(deployment, client, draw, folder)
        workload.prepare()
        world = World(deployment, workload, draw)
        injected: Counter[str] = Counter()
        shares: Counter[str] = Counter()
        damaged: list[str] = []
        for number, fault in enumerate(_draw_faults(random.Random(seed), count), start=1):
            workload.top_up(IN_FLIGHT)
            shares.update(_list_busy_hosts(workload))
            console.print(f"{time.monotonic() - began:6.0f} s  {number:4} {fault.__name__}", highlight=False)
            fault(world)
            injected[fault.__name__] += 1
            damaged += invariants.find_damaged_snapshots(deployment.database, deployment.storage)
            time.sleep(draw.uniform(*BETWEEN_SECONDS))
        console.print("All faults are injected; waiting for the remaining jobs")
        workload.wait_for_all(time.monotonic() + FINISH_SECONDS)
        violations = {**_find_violations(world), "snapshot files are complete": damaged}
        with deployment.database.reading() as session:
            report.print_costs(console, session, world.deaths)
    violations["no process is left"] = _wait_for_processes(mark)
    descriptions = {fault.__name__: inspect.getdoc(fault) or "" for fault in FAULTS}
    console.print(report.tabulate_faults(injected, descriptions))
    console.print(report.tabulate_invariants(violations))
    console.print(f"Running jobs seen on each host: {dict(shares)}")
    console.print(f"{time.monotonic() - began:.0f} s; to repeat: make faults SEED={seed} FAULTS={count}")
    return not any(violations.values())


def _draw_faults(draw: random.Random, count: int) -> Iterator[Callable[[World], None]]:
    """Draw all faults in random order, again and again, so that each comes about as often."""
    left: list[Callable[[World], None]] = []
    for _ in range(count):
        left = left or draw.sample(FAULTS, len(FAULTS))
        yield left.pop()


def _list_busy_hosts(workload: Workload) -> Iterator[str]:
    """List the hosts of the workers of running jobs."""
    jobs = workload.list_unfinished().values()
    return (worker.split(".")[0] for status, worker in jobs if status == "running" and worker)


def _find_violations(world: World) -> dict[str, list[str]]:
    deployment = world.deployment
    found: dict[str, list[str]] = {}
    with deployment.database.reading() as session:
        for name, find in invariants.IN_THE_DATABASE.items():
            found[name] = list(find(session))
    found["checkpoints are those of runs without faults"] = list(
        invariants.find_other_digests(deployment, world.workload)
    )
    found["no tensor is left"] = list(invariants.find_unused_tensors(deployment.database))
    found["no file is left"] = list(invariants.find_left_files(deployment))
    found["no request hangs"] = world.hangs
    return found


def _wait_for_processes(mark: str) -> list[str]:
    """Wait for all processes to end, as fork servers do after their workers; return the command lines of those left."""
    deadline = time.monotonic() + END_SECONDS
    while (left := processes.find_by_environment(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return list(left.values())


def _describe(host: Host) -> str:
    return f"{host.name} (a network namespace)" if host.is_namespace else host.name


def main() -> int:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="number of faults to inject")
    parser.add_argument("--seed", type=int, help="seed of the order of faults; random if left out")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory(prefix="graft-faults-") as folder:
        return 0 if run(Path(folder), seed, chosen.faults, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
