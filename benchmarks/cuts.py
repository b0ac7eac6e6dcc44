"""Seconds per epoch by cut: `make cuts DATASET=path BACKBONE=local/NAME`.

The head alone and the top one, two and three stages, trained on features cached at the cut, and the whole backbone in
float32 with the same batch size. Medians of the epochs without cache misses, of one job each.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.job import wait_for_success
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from demo.standalone import standalone
from graft.client import Client

EVERYTHING = "the whole backbone"
SHORT: dict[str, Any] = {"epochs": 3, "early_stopping": None, "batch_size": 64, "augmentations": []}
HEADER = """\
| trained | seconds an epoch | against the whole | computed by | bytes an image |
|---|---|---|---|---|"""
CHOICES: dict[str, dict[str, Any]] = {
    EVERYTHING: {"cut": "none", "precision": "float32"},
    **{f"the top {stages} of its stages": {"cut": {"kind": "top", "stages": stages}} for stages in (3, 2, 1)},
    "the head": {"cut": "all"},
}


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    chosen = build_parser("make cuts", __doc__).parse_args()
    with (
        scratch(chosen.dataset) as (folder, dataset),
        standalone(folder / "data", BACKBONES) as address,
        Client(address) as client,
    ):
        made = client.wait_for_dataset(client.create_dataset(dataset)["id"])
        print(f"### {chosen.backbone} on {dataset.name} ({made['images']:,} images)\n\n{describe()}.\n")
        print(HEADER)
        whole = 0.0
        for words, choice in CHOICES.items():
            seconds, figures = measure_epoch(client, made["id"], chosen.backbone, {**SHORT, **choice})
            whole = whole or seconds
            print(f"| {words} | {seconds:.3f} | {whole / seconds:,.1f} | {figures} |", flush=True)


def measure_epoch(client: Client, dataset: str, backbone: str, recipe: dict[str, Any]) -> tuple[float, str]:
    """Measure the seconds of an epoch; return them with the job's engine and its bytes per image."""
    job = client.create_job(dataset, backbone, recipe)["id"]
    wait_for_success(client, job)
    prepared = next(event["data"] for event in client.events(job) if event["kind"] == "prepared")
    images = sum(prepared[part] for part in ("train", "validation", "test"))
    seconds = statistics.median(row["seconds"] for row in client.metrics(job)[1:])
    return seconds, f"{prepared['engine']} | {prepared['bytes_per_view'] // images:,}"


if __name__ == "__main__":
    main()
