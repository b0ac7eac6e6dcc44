"""Cost and benefit of a head search: `make search DATASET=path BACKBONE=local/NAME`.

The features of all images are computed first, which is most of a cold job. Then, in turns on five random stratified
splits: the empty recipe's single head, and a search over 64 heads followed by the training of the best.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy import format_spread, open_features, split_images, train_recipe
from benchmarks.floor import pack_dataset
from benchmarks.machine import describe
from benchmarks.material import build_parser, scratch
from models.catalog.head_search import Search
from models.catalog.recipe import Recipe

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.features.sources import CachedFeatures

TRIALS = 64
SPLITS = 5
HEADER = f"""\
| images | backbone | features | one head | {TRIALS} heads | against one | of a cold job | accuracy | searched |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    chosen = build_parser("make search", __doc__).parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        pack, classes = pack_dataset(folder, dataset)
        features = open_features(pack, chosen.backbone, folder / "cache")
        began = time.perf_counter()
        features.read_all(np.arange(len(pack)), 0)
        cold = time.perf_counter() - began
        pairs = [compare(pack, classes, features, seed) for seed in range(SPLITS)]
    one, many, accuracy, searched = zip(*pairs, strict=True)
    alone, together = statistics.median(one), statistics.median(many)
    print(f"{describe()}. Medians of {SPLITS} splits.\n\n{HEADER}")
    print(
        f"| {dataset.name}, {len(pack)}, {len(classes)} classes | {chosen.backbone} | {cold:.2f} s | {alone:.2f} s "
        f"| {together:.2f} s | {together / alone:.1f} | {(together - alone) / (cold + alone):.0%} "
        f"| {format_spread(accuracy)} | {format_spread(searched)} |"
    )


def compare(pack: Pack, classes: list[str], features: CachedFeatures, seed: int) -> tuple[float, float, float, float]:
    """Compare seconds and test accuracy of one head and of a search."""
    seconds, accuracies = [], []
    for recipe in (Recipe(), Recipe(search=Search(trials=TRIALS))):
        began = time.perf_counter()
        trained = train_recipe(recipe, pack.labels, classes, features, split_images(pack.labels, seed), seed)
        seconds.append(time.perf_counter() - began)
        accuracies.append(trained.accuracy)
    return seconds[0], seconds[1], accuracies[0], accuracies[1]


if __name__ == "__main__":
    main()
