"""Gains of pretraining a backbone on unlabelled images: `make pretraining SETS='a b' METHODS='a b'`.

Of each set of the battery a quarter is tested on. A backbone is pretrained on all other images, without their labels;
by `supervised`, on another set with its labels. Then the empty recipe trains on a few labelled images a class, by the
backbone before and after, over several draws of these. Cells are kept as they are measured: run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.accuracy import format_spread
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, parse_backbone
from benchmarks.quality.battery import SETS, find_archive
from models.catalog.recipe import Recipe
from models.datasets.archives import Limits
from models.datasets.pack import UNLABELLED, Pack, write_index
from models.datasets.validation import validate
from models.messages import Finished
from models.pipeline.fine_tune import fine_tune
from models.pipeline.pretrain_backbone import pretrain_backbone
from models.pipeline.spec import BackboneSpec, DatasetSpec, PretrainingSpec, TrainingSpec
from models.pretraining.messages import BackbonePretrained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.datasets.pack import Entry

ROWS = Path(".benchmarks") / "pretraining.jsonl"
METHODS = ("contrastive", "masked", "denoising", "supervised")
OTHERS = {"digits": "shape", "orientation": "direction", "direction": "orientation", "counting": "shape",
          "shape": "texture", "texture": "shape", "flowers": "waste", "waste": "flowers",
          "blood_cells": "flowers"}  # fmt: skip
"""The set with labels that `supervised` learns before each."""
TESTED = 0.25
HEADER = """\
| set | backbone | method | images | seconds | before, % | after, % | gain |
|---|---|---|---|---|---|---|---|"""


class ImageSet(NamedTuple):
    """A set of the battery, packed."""

    name: str
    classes: list[str]
    entries: list[Entry]
    rest: list[int]
    """Images that are not tested on."""
    tested: list[int]


def main() -> None:
    """Run the benchmark; prints a row a cell, and then all rows of these settings in Markdown."""
    parser = argparse.ArgumentParser(prog="make pretraining", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["digits", "blood_cells", "orientation", "flowers"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--backbone", default="local/rendered_shapes", type=parse_backbone)
    parser.add_argument("--images", type=int, default=1000, help="of a set, at most")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--labelled", type=int, default=10, help="labelled training images a class")
    parser.add_argument("--draws", type=int, default=3, choices=range(2, 21))
    parser.add_argument("--with", dest="more", default="{}", type=json.loads, help="options of all methods, as JSON")
    chosen = parser.parse_args()
    ROWS.parent.mkdir(exist_ok=True)
    settings = {"backbone": chosen.backbone, "images": chosen.images, "image_size": chosen.image_size,
                "labelled": chosen.labelled, "draws": chosen.draws, "more": chosen.more}  # fmt: skip
    done = [row for row in _read_rows() if row["settings"] == settings]
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
        for name in chosen.sets:
            for method in chosen.methods:
                if any((row["set"], row["method"]) == (name, method) for row in done):
                    continue
                row = measure(Path(folder), name, method, chosen)
                done.append({**row, "settings": settings})
                with ROWS.open("a") as rows:
                    rows.write(json.dumps(done[-1]) + "\n")
                print(format_row(row, chosen.backbone), flush=True)
    print(f"\n{describe()}. {settings}\n\n{HEADER}")
    for row in done:
        print(format_row(row, chosen.backbone))


def _read_rows() -> Iterator[dict[str, Any]]:
    if ROWS.exists():
        yield from map(json.loads, ROWS.read_text().splitlines())


def measure(folder: Path, name: str, method: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Pretrain on a set, and measure the empty recipe before and after."""
    images = pack_set(folder, name, chosen.images)
    if method == "supervised":
        other = pack_set(folder, OTHERS[name], chosen.images)
        entries = [replace(entry, split="train") for entry in other.entries]
    else:
        other = images
        entries = [replace(images.entries[place], split=UNLABELLED, labels=()) for place in images.rest]
    dataset = write_dataset(folder, other, entries, "pretraining")
    written = folder / f"{name}-{method}" / "backbone"
    written.mkdir(parents=True)
    began = time.perf_counter()
    spec = PretrainingSpec(
        storage=folder.as_uri(),
        dataset=dataset,
        backbone=BackboneSpec(name=chosen.backbone),
        local_backbones=BACKBONES,
        method={"kind": method, **chosen.more},
        image_size=chosen.image_size,
        device="cpu",
        folder=written,
    )
    *_, ended = pretrain_backbone(spec, Pack(folder / dataset.pack, folder / dataset.index))
    seconds = time.perf_counter() - began
    assert isinstance(ended, BackbonePretrained)
    before, after = [], []
    for draw in range(chosen.draws):
        labelled = write_dataset(folder, images, draw_labelled(images, chosen.labelled, draw), "labelled")
        before.append(train(folder, labelled, chosen.backbone, None, chosen.image_size))
        after.append(train(folder, labelled, "bb_pretrained", written, None))
    return {"set": name, "method": method, "images": ended.images, "seconds": seconds, "losses": ended.losses,
            "before": before, "after": after}  # fmt: skip


def pack_set(folder: Path, name: str, images: int) -> ImageSet:
    """Pack a set, and draw the images that are tested on."""
    archive = find_archive(name, folder)
    with archive.open("rb") as file, (folder / f"{name}.pack").open("wb") as pack:
        validated = validate(file, pack, Limits(1 << 40, 1 << 30))
    entries = [validated.entries[place] for place in np.random.default_rng(0).permutation(len(validated.entries))]
    entries = entries[:images]
    labels = [entry.labels for entry in entries]
    rest, tested = train_test_split(range(len(entries)), test_size=TESTED, stratify=labels, random_state=0)
    return ImageSet(name, [entry["name"] for entry in validated.classes], entries, rest, tested)


def draw_labelled(images: ImageSet, labelled: int, draw: int) -> list[Entry]:
    """Draw labelled images of each class for training and half as many for validation; all tested ones are in it."""
    drawn = [replace(images.entries[place], split="test") for place in images.tested]
    order = np.random.default_rng(draw + 1).permutation(images.rest).tolist()
    for label in range(len(images.classes)):
        of_class = [images.entries[place] for place in order if images.entries[place].labels == (label,)]
        validated = labelled + (labelled + 1) // 2
        drawn += [replace(entry, split="train") for entry in of_class[:labelled]]
        drawn += [replace(entry, split="validation") for entry in of_class[labelled:validated]]
    return drawn


def write_dataset(folder: Path, images: ImageSet, entries: list[Entry], name: str) -> DatasetSpec:
    """Write an index of some entries."""
    with (folder / f"{name}.index").open("wb") as file:
        write_index(file, entries)
    return DatasetSpec(pack=f"{images.name}.pack", index=f"{name}.index", classes=images.classes, digest="0" * 64)


def train(
    folder: Path, dataset: DatasetSpec, backbone: str, backbone_folder: Path | None, image_size: int | None
) -> float:
    """Train by the empty recipe; returns the accuracy on the test images."""
    spec = TrainingSpec(
        job="job_benchmark",
        storage=folder.as_uri(),
        dataset=dataset,
        backbone=BackboneSpec(name=backbone, folder=backbone_folder),
        local_backbones=BACKBONES,
        recipe=Recipe.model_validate({} if image_size is None else {"image_size": image_size}),
        device="cpu",
        cache=folder / "cache",
        cache_bytes=20 << 30,
        checkpoint=folder / "best.safetensors",
    )
    *_, ended = fine_tune(spec, Pack(folder / dataset.pack, folder / dataset.index))
    assert isinstance(ended, Finished)
    accuracy: float = ended.metrics["test"]["accuracy"]
    return accuracy


def format_row(row: dict[str, Any], backbone: str) -> str:
    """Format a cell as a row in Markdown: means and standard deviations over the draws."""
    gains = tuple(after - before for before, after in zip(row["before"], row["after"], strict=True))
    figures = [format_spread(tuple(row["before"])), format_spread(tuple(row["after"])), format_spread(gains)]
    words = [row["set"], backbone, row["method"], str(row["images"]), f"{row['seconds']:.0f}", *figures]
    return f"| {' | '.join(words)} |"


if __name__ == "__main__":
    main()
