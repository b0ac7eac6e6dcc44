"""Accuracy and time by how much of a backbone is trained: `make unfreezing DATASET=path BACKBONE=local/NAME`.

The head alone, the top three stages, and the whole backbone, on random stratified splits (60 : 15 : 25); stages both
with a new head, and from the head alone (LP-FT) with warm-up, cosine and averaged weights. Features are cached: the
head alone comes first, and the others read its.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.accuracy import format_spread
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from models.catalog.recipe import Recipe
from models.datasets.archives import Limits
from models.datasets.pack import Pack, write_index
from models.datasets.validation import validate
from models.messages import Finished, Noted
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.validation import ValidatedDataset

FROM_PROBE: dict[str, Any] = {"schedule": {"kind": "cosine", "warmup_epochs": 1}, "averaging": {}}
RECIPES: dict[str, dict[str, Any]] = {
    "the head": {},
    "the top 3 stages, with a new head": {"cut": {"kind": "top", "stages": 3}},
    "the top 3 stages, from the head": {"cut": {"kind": "top", "stages": 3, "probe": True}, **FROM_PROBE},
    "everything, with a new head": {"cut": "none"},
    "everything, from the head": {"cut": {"kind": "none", "probe": True}, **FROM_PROBE},
}
HEADER = """\
| trained | test accuracy, % | against the head | seconds | of the way from the head alone |
|---|---|---|---|---|"""


class Result(NamedTuple):
    """Result of one job."""

    accuracy: float
    seconds: float
    share: float
    """Of the way from the probe to the best epoch, at which the delivered weights lie; 0: the probe is delivered."""


def main() -> None:
    """Run the benchmark; prints a row a job, and then a table in Markdown."""
    parser = build_parser("make unfreezing", __doc__)
    parser.add_argument("--images", type=int, help="this many, drawn at random; all by default")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="these alone")
    parser.add_argument(
        "--with", dest="more", default="{}", type=Recipe.model_validate_json, help="fields of all recipes"
    )
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        with dataset.open("rb") as archive, (folder / "pack").open("wb") as pack:
            validated = validate(archive, pack, Limits(1 << 40, 1 << 30))
        more = chosen.more.model_dump(mode="json", exclude_unset=True)
        results: dict[str, list[Result]] = {name: [] for name in chosen.recipes}
        for seed in range(chosen.splits):
            split = write_split(folder, validated, seed, chosen.images)
            for name in chosen.recipes:
                recipe = Recipe.model_validate({**more, **RECIPES[name], "seed": seed})
                results[name].append(run(folder, split, chosen.backbone, recipe))
                print(f"{name}, split {seed}: {results[name][-1]}", flush=True)
        print(f"\n### {chosen.backbone} on {dataset.name}, {chosen.splits} splits\n\n{describe()}.\n\n{HEADER}")
        first = next(iter(results.values()))
        for name, rows in results.items():
            print(f"| {name} | {format_row(rows, first)} |")


def write_split(folder: Path, validated: ValidatedDataset, seed: int, images: int | None) -> DatasetSpec:
    """Write the index of a random stratified split of some images."""
    classes = [entry["name"] for entry in validated.classes]
    entries = np.random.default_rng(seed).permutation(np.array(validated.entries, object))[:images].tolist()
    labels = [entry.labels for entry in entries]
    rest, test = train_test_split(np.arange(len(entries)), test_size=0.25, stratify=labels, random_state=seed)
    again = [labels[place] for place in rest]
    train, validation = train_test_split(rest, test_size=0.2, stratify=again, random_state=seed)
    for name, places in (("train", train), ("validation", validation), ("test", test)):
        for place in places:
            entries[place] = replace(entries[place], split=name)
    index = f"{seed}.index"
    with (folder / index).open("wb") as file:
        write_index(file, entries, validated.decoding)
    return DatasetSpec(pack="pack", index=index, classes=classes, digest="0" * 64)


def run(folder: Path, dataset: DatasetSpec, backbone: str, recipe: Recipe) -> Result:
    """Run a job."""
    spec = TrainingSpec(
        job="job_benchmark",
        storage=folder.as_uri(),
        dataset=dataset,
        backbone=BackboneSpec(name=backbone),
        local_backbones=BACKBONES,
        recipe=recipe,
        device="cpu",
        cache=folder / "cache",
        cache_bytes=20 << 30,
        checkpoint=folder / "best.safetensors",
    )
    began = time.perf_counter()
    events = list(fine_tune(spec, Pack(folder / dataset.pack, folder / dataset.index)))
    seconds, ended = time.perf_counter() - began, events[-1]
    assert isinstance(ended, Finished)
    shares = [event.data["share"] for event in events if isinstance(event, Noted) and event.kind == "interpolated"]
    share = next(iter(shares), float(ended.metrics["delivered"] == "epoch"))
    return Result(ended.metrics["test"]["accuracy"], seconds, share)


def format_row(rows: list[Result], first: list[Result]) -> str:
    """Format the spread of accuracies, that of the differences to the first recipe, and medians."""
    accuracies = tuple(row.accuracy for row in rows)
    gains = tuple(row.accuracy - other.accuracy for row, other in zip(rows, first, strict=True))
    seconds, share = (statistics.median(values) for values in list(zip(*rows, strict=True))[1:])
    return f"{format_spread(accuracies)} | {format_spread(gains)} | {seconds:.1f} | {share:g}"


if __name__ == "__main__":
    main()
