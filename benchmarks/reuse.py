"""Reuse of cached features by later jobs: `make reuse DATASET=archive BACKBONE=local/NAME`.

A first job on 99% of the images starts with an empty feature cache. Then follow jobs on all images, with another head,
with another split, and with other labels (every other class against the rest); finally 1, 2 and 4 jobs at once, on four
workers, each with another seed.
"""

from __future__ import annotations

import tarfile
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from benchmarks.floor import pack_dataset
from benchmarks.job import measure_job, wait_for_success
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.datasets.pack import Pack

NEW = 100
"""One in this many images is missing from the first job."""
AT_ONCE = (1, 2, 4)
HEADER = """\
| job | images computed | seconds from POST to succeeded | of the first | test accuracy |
|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark and print tables in Markdown."""
    chosen = build_parser("make reuse", __doc__).parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        pack, classes = pack_dataset(folder, dataset)
        most = write_archive(folder / "most.tar", pack, lambda label: classes[label], lambda place: place % NEW > 0)
        whole = write_archive(folder / "whole.tar", pack, lambda label: classes[label])
        others = write_archive(folder / "others.tar", pack, lambda label: ("even", "odd")[label % 2])
        more = {"GRAFT_WORKERS": str(max(AT_ONCE))}
        with standalone(folder / "data", BACKBONES, **more) as address, Client(address) as client:
            ids = [client.wait_for_dataset(client.create_dataset(path)["id"])["id"] for path in (most, whole, others)]
            print(f"### {chosen.backbone} on {dataset.name} ({len(pack):,} images)\n\n{describe()}.\n")
            run_jobs(client, chosen.backbone, *ids)
            run_at_once(client, chosen.backbone, ids[1])


def write_archive(
    path: Path, pack: Pack, name: Callable[[int], str], wanted: Callable[[int], bool] = lambda _: True
) -> Path:
    """Write an archive of the wanted images, with a folder for each label."""
    with tarfile.open(path, "w") as archive:
        for place, label in enumerate(pack.labels.tolist()):
            if wanted(place):
                encoded = pack.read_file(place)
                entry = tarfile.TarInfo(f"{name(label)}/{place:06}")
                entry.size = len(encoded)
                archive.addfile(entry, BytesIO(encoded))
    return path


def run_jobs(client: Client, backbone: str, most: str, whole: str, others: str) -> None:
    """Run a first job, and then jobs that reuse its features."""
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        f"the first, without one in {NEW} images": (most, {}),
        "with all images": (whole, {}),
        "with another head": (whole, {"head": "cosine"}),
        "with another split": (whole, {"validation_fraction": 0.2}),
        "with other labels": (others, {}),
    }
    print(HEADER)
    first = 0.0
    for words, (dataset, recipe) in jobs.items():
        job = measure_job(client, dataset, backbone, recipe)
        first = first or job["total"]
        figures = (
            f"{job['cache']['misses']:,} | {job['total']:.2f} | {job['total'] / first:.0%} | {job['accuracy']:.1%}"
        )
        print(f"| {words} | {figures} |", flush=True)


def run_at_once(client: Client, backbone: str, dataset: str) -> None:
    """Run several jobs at once whose features are all cached."""
    print("\n| jobs at once | seconds until all have succeeded | jobs a minute |\n|---|---|---|")
    for count in AT_ONCE:
        began = time.perf_counter()
        jobs = [client.create_job(dataset, backbone, {"seed": seed})["id"] for seed in range(count)]
        for job in jobs:
            wait_for_success(client, job)
        seconds = time.perf_counter() - began
        print(f"| {count} | {seconds:.2f} | {60 * count / seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
