"""A cold job, a warm job, and the trunk against its floor: `make benchmarks DATASET=path BACKBONE=local/NAME PAIRS=3`.

Jobs run in pairs on one service: a cold job with an empty feature cache, then the same job again, warm. Networks that
were compiled for the processor stay compiled, as they do for later jobs. The floor is decoding alone and the trunk
alone, in a process that is set up like the workers' children. It is measured before the service starts and after it
has stopped, and the mean is used, since the machine's speed varies.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from benchmarks.floor import Floor
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.client import Client
from models.runtime.tuning import TUNING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from graft.jobs import Job


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    parser = build_parser("make benchmarks", __doc__)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of jobs; medians of them are printed")
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        before = measure_floor(dataset, chosen.backbone)
        jobs, images = run_pairs(folder, dataset, chosen.backbone, chosen.pairs)
        floors = [before, measure_floor(dataset, chosen.backbone)]
    print(format_table(dataset.name, images, chosen.backbone, floors, jobs))


def measure_floor(dataset: Path, backbone: str) -> Floor:
    """Measure this machine's floor in a new process."""
    command = [sys.executable, "-m", "benchmarks.floor", str(dataset), backbone]
    done = subprocess.run(command, env={**os.environ, **TUNING}, check=True, capture_output=True, text=True)
    return Floor(**json.loads(done.stdout))


def run_pairs(folder: Path, dataset: Path, backbone: str, pairs: int) -> tuple[dict[str, list[Any]], int]:
    """Run pairs of a cold and a warm job; return their figures and the number of images."""
    jobs: dict[str, list[Any]] = {"cold": [], "warm": []}
    with standalone(folder / "data", BACKBONES) as address, Client(address) as client:
        made = client.wait_for_dataset(client.create_dataset(dataset)["id"])
        for pair in range(pairs):
            clear_features(folder / "data" / "cache")
            for kind, found in jobs.items():
                found.append(measure_job(client, made["id"], backbone))
                print(f"pair {pair + 1}, {kind}: {found[-1]['total']:.2f} s", flush=True)
    return jobs, made["images"]


def clear_features(cache: Path) -> None:
    """Delete all cached features; compiled networks stay."""
    for folder in cache.glob("*/"):
        if folder.name != "compiled":
            shutil.rmtree(folder)


def measure_job(client: Client, dataset: str, backbone: str, recipe: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a job; measure the seconds from POST to its end and to the first training step, and read its own figures."""
    posted = time.time()
    job = client.create_job(dataset, backbone, recipe)["id"]
    ended = wait_for_success(client, job)
    training = next(event for event in client.events(job) if event["data"].get("phase") == "training")
    epochs = client.metrics(job)
    cached = [epoch["seconds"] for epoch in epochs if epoch["cache_misses"] == 0]
    return {
        "total": _seconds(ended["finished_at"]) - posted,
        "first_step": _seconds(training["time"]) - posted,
        "phases": ended["seconds"],
        "validation": ended["metrics"]["validation"]["accuracy"],
        "accuracy": ended["metrics"]["test"]["accuracy"],
        "epochs": len(epochs),
        "cached_epoch": statistics.median(cached) if cached else None,
        "cache": ended["cache"],
    }


def wait_for_success(client: Client, job: str) -> Job:
    """Wait for a job to end, and exit if it did not succeed."""
    ended = client.wait(job)
    if ended["status"] != "succeeded":
        raise SystemExit(f"The job ended as {ended['status']}: {ended['error']}")
    return ended


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def format_table(dataset: str, images: int, backbone: str, floors: list[Floor], jobs: dict[str, list[Any]]) -> str:
    """Format the medians as Markdown."""

    def median(kind: str, figure: str) -> float:
        return float(statistics.median(job[figure] for job in jobs[kind]))

    def phase(kind: str, name: str) -> float:
        return float(statistics.median(job["phases"][name] for job in jobs[kind]))

    rows = [
        ("seconds from POST to succeeded", *(f"{median(kind, 'total'):.2f}" for kind in jobs)),
        ("seconds from POST to the first training step", *(f"{median(kind, 'first_step'):.2f}" for kind in jobs)),
        *((f"seconds {name}", *(f"{phase(kind, name):.2f}" for kind in jobs)) for name in jobs["cold"][0]["phases"]),
        ("epochs", *(f"{median(kind, 'epochs'):.0f}" for kind in jobs)),
        ("test accuracy", *(f"{median(kind, 'accuracy'):.1%}" for kind in jobs)),
    ]
    cold = jobs["cold"][0]
    looks = cold["cache"]["misses"]
    least = statistics.mean(one.compute_seconds(looks) for one in floors)
    computing = phase("cold", "caching") + phase("cold", "training") + phase("cold", "evaluating")
    decoding, trunk = (statistics.mean(getattr(one, name) for one in floors) for name in ("decoding", "trunk"))
    lines = [
        f"### {backbone} on {dataset} ({images:,} images)",
        "",
        f"{describe()}. Medians of {len(jobs['cold'])} paired runs.",
        "",
        "| figure | cold | warm |",
        "|---|---|---|",
        *(f"| {name} | {one} | {other} |" for name, one, other in rows),
        "",
        f"Decoding alone: {decoding:.0f} images per second; the trunk alone ({floors[0].engine}): {trunk:.0f}. For",
        f"the {looks:,} images of the first cold job: {least:.2f} s; its caching, training and evaluating took",
        f"{computing:.2f} s: {computing / least:.2f} x the floor.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
