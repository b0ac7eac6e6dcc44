"""A cold job, a warm job, and the trunk against its floor: `make benchmarks DATASET=path BACKBONE=local/NAME`.

Runs come in pairs on one running service: a cold job with an emptied feature cache, then a warm one, the same again.
The floor is the trunk alone on pictures that lie decoded in memory, in this process, before the service starts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from demo.digits import write_archive
from demo.standalone import standalone
from graft.client import Client
from models import backbones, surgery
from models.features import Trunk

ROOT = Path(__file__).parents[1]
PAIRS = 3
BATCH = 32
FLOOR_SECONDS = 5.0


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="make benchmarks", description=__doc__)
    parser.add_argument("--dataset", type=Path, help="a folder or an archive; without it, scikit-learn's digits")
    parser.add_argument("--backbone", default="local/rendered_shapes")
    chosen = parser.parse_args()
    directory = Path(os.environ.get("GRAFT_BACKBONES", ROOT / "demo" / "backbones"))
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        folder = Path(name)
        dataset = chosen.dataset or folder / "digits.tar"
        if chosen.dataset is None:
            write_archive(dataset)
        floor = trunk_rate(chosen.backbone, directory)
        jobs, images = paired_jobs(folder, dataset, chosen.backbone, directory)
    print(table(dataset.name, images, chosen.backbone, floor, jobs))


def trunk_rate(backbone: str, directory: Path) -> float:
    """Pictures a second of the trunk alone, all cores, decoded and rendered beforehand."""
    loaded = backbones.load(backbone, directory)
    size = loaded.preprocessing.input_size
    pooled = surgery.pooled(loaded.network, size, {})
    trunk = Trunk(pooled.trunk, loaded.preprocessing, torch.device("cpu"))
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, *size), np.uint8)
    trunk(pictures)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < FLOOR_SECONDS:
        trunk(pictures)
        done += BATCH
    return done / (time.perf_counter() - began)


def paired_jobs(folder: Path, dataset: Path, backbone: str, directory: Path) -> tuple[dict[str, list[Any]], int]:
    """PAIRS cold and warm jobs in turn, and how many pictures the dataset has."""
    jobs: dict[str, list[Any]] = {"cold": [], "warm": []}
    with standalone(folder / "data", directory) as address, Client(address) as client:
        made = client.wait_for_dataset(client.create_dataset(dataset)["id"])
        for pair in range(PAIRS):
            shutil.rmtree(folder / "data" / "cache", ignore_errors=True)
            for kind, found in jobs.items():
                found.append(measured(client, made["id"], backbone))
                print(f"pair {pair + 1}, {kind}: {found[-1]['total']:.2f} s", flush=True)
    return jobs, made["images"]


def measured(client: Client, dataset: str, backbone: str) -> dict[str, Any]:
    """One job: its seconds from POST to the end and to the first training step, and its own figures."""
    posted = time.time()
    job = client.create_job(dataset, backbone)["id"]
    ended = client.wait(job)
    if ended["status"] != "succeeded":
        raise SystemExit(f"The job ended as {ended['status']}: {ended['error']}")
    training = next(event for event in client.events(job) if event["data"].get("phase") == "training")
    return {
        "total": _seconds(ended["finished_at"]) - posted,
        "first_step": _seconds(training["time"]) - posted,
        "phases": ended["seconds"],
        "accuracy": ended["metrics"]["test"]["accuracy"],
        "epochs": len(client.metrics(job)),
        "cache": ended["cache"],
    }


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def table(dataset: str, images: int, backbone: str, floor: float, jobs: dict[str, list[Any]]) -> str:
    """The figures in Markdown: medians."""

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
    computing = phase("cold", "caching") + phase("cold", "training")
    rate = cold["cache"]["misses"] / computing
    lines = [
        f"### {backbone} on {dataset} ({images:,} pictures)",
        "",
        f"{describe()}. Medians of {PAIRS} paired runs.",
        "",
        "| figure | cold | warm |",
        "|---|---|---|",
        *(f"| {name} | {one} | {other} |" for name, one, other in rows),
        "",
        f"The trunk alone does {floor:.0f} pictures a second; a cold job, decoding, rendering, caching and training",
        f"included, {rate:.0f}: {floor / rate:.2f} x the floor's time.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
