"""Accuracy where classes are of very different sizes: `make imbalance DATASET=path BACKBONE=local/NAME`.

Of each pair of classes the first keeps many images to train and validate on, the second few, and the test has them in
the same ratio. The empty recipe is compared with linear discriminant analysis of the same images and with the constant
predictor, which always says the frequent class.
"""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.accuracy import Split, format_spread, open_material, train_recipe
from benchmarks.machine import describe
from models.catalog.recipe import Recipe
from models.evaluation.metrics import evaluate
from models.training import lda

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.datasets.pack import Pack
    from models.features.sources import CachedFeatures

SPLITS = 20
RATIOS = ((200, 2), (200, 4), (200, 10), (200, 30), (60, 3))
TESTED = 0.4
"""Test images, as a share of the others."""
HEADER = """\
| images | empty recipe | LDA | constant | recipe - LDA | recipe - constant | balanced accuracy |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    with open_material("make imbalance", __doc__) as (dataset, backbone, pack, classes, features):
        print(f"{describe()}. {dataset.name}, {backbone}, {SPLITS} draws.\n\n{HEADER}")
        for many, few in RATIOS:
            rows = [compare(pack, classes, features, many, few, seed) for seed in range(SPLITS)]
            ours, fitted, constant, balanced = zip(*rows, strict=True)
            spreads = [format_spread(values) for values in (ours, fitted, constant)]
            gains = [format_gain(ours, others) for others in (fitted, constant)]
            print(f"| {many} : {few} | {' | '.join([*spreads, *gains, format_spread(balanced)])} |", flush=True)


def compare(
    pack: Pack, classes: list[str], features: CachedFeatures, many: int, few: int, seed: int
) -> tuple[float, float, float, float]:
    """Compare test accuracies of the empty recipe, LDA and the constant; returns the recipe's balanced accuracy too."""
    pairs = list(itertools.permutations(range(len(classes)), 2))
    pair = pairs[seed % len(pairs)]
    split = draw_split(pack.labels, zip(pair, (many, few), strict=True), seed)
    labels = (pack.labels == pair[1]).astype(np.int64)
    result = train_recipe(Recipe(), labels, [classes[label] for label in pair], features, split, seed)
    fitted, _ = lda.fit_to_run(result.training.run)
    standardized = result.training.model.standardize(torch.from_numpy(result.features))
    of_lda = (standardized @ fitted.weight.T + fitted.bias).argmax(1).numpy()
    balanced = evaluate(result.logits, result.labels, ["frequent", "rare"])["balanced_accuracy"]
    return result.accuracy, float((of_lda == result.labels).mean()), float((result.labels == 0).mean()), balanced


def draw_split(labels: np.ndarray, counts: Iterable[tuple[int, int]], seed: int) -> Split:
    """Draw a number of images of each class: 15% of them to validate on, at least one; and others to test on."""
    random, parts = np.random.default_rng(seed), []
    for label, count in counts:
        images = random.permutation(np.flatnonzero(labels == label))
        validated = max(1, round(count * 0.15))
        tested = max(2, round(count * TESTED))
        parts.append((images[validated:count], images[:validated], images[count : count + tested]))
    train, validation, test = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return Split(train, validation, test)


def format_gain(ours: tuple[float, ...], others: tuple[float, ...]) -> str:
    """Format the mean difference with its standard error, in percentage points."""
    gains = [100 * (one - other) for one, other in zip(ours, others, strict=True)]
    return f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}"


if __name__ == "__main__":
    main()
