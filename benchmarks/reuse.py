"""What the next job costs: `make reuse DATASET=archive BACKBONE=local/NAME`.

A first job on 99 in 100 of the images finds an empty feature cache. Then come jobs on all of them, with another head,
with another split, and with other labels (every other class against the rest). In the end 1, 2 and 4 jobs at once, on
four workers, each with a head of its own.
"""

from __future__ import annotations

import tarfile
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from benchmarks.floor import BACKBONES, packed
from benchmarks.job import measured, succeeded
from benchmarks.machine import describe
from benchmarks.material import arguments, scratch
from demo.standalone import standalone
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.datasets.pack import Pack

NEW = 100
"""One in so many images comes later."""
AT_ONCE = (1, 2, 4)
HEADER = """\
| job | images computed | seconds from POST to succeeded | of the first | test accuracy |
|---|---|---|---|---|"""


def main() -> None:
    """Measure, and print tables in Markdown."""
    chosen = arguments("make reuse", __doc__).parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        pack, classes = packed(folder, dataset)
        most = write(folder / "most.tar", pack, lambda label: classes[label], lambda place: place % NEW > 0)
        whole = write(folder / "whole.tar", pack, lambda label: classes[label])
        others = write(folder / "others.tar", pack, lambda label: ("even", "odd")[label % 2])
        more = {"GRAFT_WORKERS": str(max(AT_ONCE))}
        with standalone(folder / "data", BACKBONES, **more) as address, Client(address) as client:
            ids = [client.wait_for_dataset(client.create_dataset(path)["id"])["id"] for path in (most, whole, others)]
            print(f"### {chosen.backbone} on {dataset.name} ({len(pack):,} images)\n\n{describe()}.\n")
            reuse(client, chosen.backbone, *ids)
            at_once(client, chosen.backbone, ids[1])


def write(path: Path, pack: Pack, name: Callable[[int], str], wanted: Callable[[int], bool] = lambda _: True) -> Path:
    """An archive of the wanted images, in a folder by the name of each one's label."""
    with tarfile.open(path, "w") as archive:
        for place, label in enumerate(pack.labels.tolist()):
            if wanted(place):
                encoded = pack.read_file(place)
                entry = tarfile.TarInfo(f"{name(label)}/{place:06}")
                entry.size = len(encoded)
                archive.addfile(entry, BytesIO(encoded))
    return path


def reuse(client: Client, backbone: str, most: str, whole: str, others: str) -> None:
    """A first job, and those that find what it kept."""
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        f"the first, without one in {NEW} images": (most, {}),
        "with all images": (whole, {}),
        "with another head": (whole, {"head": "cosine"}),
        "with another split": (whole, {"validation_fraction": 0.2}),
        "with other labels": (others, {}),
    }
    print(HEADER)
    first = 0.0
    for said, (dataset, recipe) in jobs.items():
        job = measured(client, dataset, backbone, recipe)
        first = first or job["total"]
        figures = (
            f"{job['cache']['misses']:,} | {job['total']:.2f} | {job['total'] / first:.0%} | {job['accuracy']:.1%}"
        )
        print(f"| {said} | {figures} |", flush=True)


def at_once(client: Client, backbone: str, dataset: str) -> None:
    """Several jobs of which nothing has to be computed."""
    print("\n| jobs at once | seconds until all have succeeded | jobs a minute |\n|---|---|---|")
    for count in AT_ONCE:
        began = time.perf_counter()
        jobs = [client.create_job(dataset, backbone, {"seed": seed})["id"] for seed in range(count)]
        for job in jobs:
            succeeded(client, job)
        seconds = time.perf_counter() - began
        print(f"| {count} | {seconds:.2f} | {60 * count / seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
