"""Polling load: requests per second for a job's status, `make polls`, on SQLite or DATABASE=postgresql+psycopg://….

While a job trains, two processes request it again and again for ten seconds, each over one connection. Then nothing
happens for ten seconds, and the processor time and memory of the idle service are read from /proc.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.machine import describe
from demo.digits import write_archive
from demo.standalone import standalone
from graft.client import Client

SECONDS = 10.0
ASKERS = 2
ENDLESS = {"epochs": 100_000, "early_stopping": None}


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="make polls", description=__doc__)
    parser.add_argument("--database", help="any database that the service takes; without it, SQLite")
    chosen = parser.parse_args()
    backbones = Path(__file__).parents[1] / "demo" / "backbones"
    more = {"GRAFT_DATABASE_URL": chosen.database} if chosen.database else {}
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        folder = Path(name)
        write_archive(folder / "digits.tar")
        with standalone(folder / "data", backbones, **more) as address, Client(address) as client:
            dataset = client.wait_for_dataset(client.create_dataset(folder / "digits.tar")["id"])["id"]
            alone = measure_answers(f"{address}/v1/datasets/{dataset}")
            job = client.create_job(dataset, "local/rendered_shapes", ENDLESS)["id"]
            while client.job(job)["phase"] != "training":
                time.sleep(0.1)
            beside = measure_answers(f"{address}/v1/jobs/{job}")
            client.cancel(job)
            client.wait(job)
            time.sleep(1)
            share, megabytes = measure_idle()
    print(f"{describe()}. {'PostgreSQL' if chosen.database else 'SQLite'}.\n")
    print("| requests | per second | median, ms | p99, ms |\n|---|---|---|---|")
    for words, times in (("for a dataset, while nothing runs", alone), ("for a job that trains", beside)):
        median, p99 = (1000 * compute_quantile(times, share) for share in (0.5, 0.99))
        print(f"| {words} | {len(times) / SECONDS:,.0f} | {median:.1f} | {p99:.1f} |")
    print(f"\nIdle, all processes together use {share:.2%} of one core and {megabytes:,.0f} MB.")


def measure_answers(url: str) -> list[float]:
    """Measure the seconds of each of many requests."""
    with multiprocessing.Pool(ASKERS) as pool:
        return [seconds for found in pool.map(_ask, [url] * ASKERS) for seconds in found]


def compute_quantile(values: list[float], share: float) -> float:
    """Compute the value below which this share of the values lies."""
    return statistics.quantiles(values, n=1000)[round(1000 * share) - 1]


def measure_idle() -> tuple[float, float]:
    """Measure the idle load of this process's descendants: share of a core, and megabytes (PSS)."""
    before = {pid: _cpu_seconds(pid) for pid in _descendants(os.getpid())}
    time.sleep(SECONDS)
    after = [_cpu_seconds(pid) - seconds for pid, seconds in before.items()]
    return sum(after) / SECONDS, sum(_own_bytes(pid) for pid in before) / 1e6


def _ask(url: str) -> list[float]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    found, until = [], time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{url} answers {answer.status}")
        found.append(time.perf_counter() - began)
    return found


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in _descendants(child)]


def _cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _own_bytes(pid: int) -> int:
    """Read the proportional set size: private memory, and a share of shared memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024


if __name__ == "__main__":
    main()
