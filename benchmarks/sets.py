"""Prediction sets and novelty of the empty recipe: `make sets DATASET=path OTHER=path BACKBONE=local/NAME`.

On 20 random stratified splits (70 : 15 : 15): coverage and size of the sets that are asked to cover 90% of the test
images, with what their probabilities alone would give beside them (classes in descending order until they add up to
90%); and how well novelty tells the images of another dataset from the test images: the area under the ROC curve, and
the share of either that is taken for novel.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.accuracy import format_spread, open_features, split_images, train_recipe
from benchmarks.floor import pack_dataset
from benchmarks.machine import describe
from benchmarks.material import build_parser, scratch
from models.catalog.recipe import Recipe
from models.evaluation import prediction_statistics
from models.evaluation.metrics import compute_log_probabilities
from models.evaluation.novelty import StackedStatistics, project

if TYPE_CHECKING:
    from benchmarks.accuracy import Trained

SPLITS = 20
COVERAGE = 0.9
HEADER = """\
| images | others | backbone | accuracy | coverage | size | empty | coverage of sums | size | AUROC | novel of test | \
novel of others | bytes |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


class Measured(NamedTuple):
    """Figures of one split; shares in percent once they are printed."""

    accuracy: float
    coverage: float
    size: float
    empty: float
    summed_coverage: float
    summed_size: float
    auroc: float
    false_alarms: float
    found: float
    bytes: int


def main() -> None:
    """Run the benchmark and print a row in Markdown."""
    parser = build_parser("make sets", __doc__)
    parser.add_argument("--other", type=Path, required=True, help="images of another kind: an archive, or a folder")
    parser.add_argument("--cache", type=Path, help="a feature cache to use, such as a service's")
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        cache = chosen.cache or folder / "cache"
        pack, classes = pack_dataset(folder, dataset)
        features = open_features(pack, chosen.backbone, cache)
        (folder / "other").mkdir()
        other_pack, _ = pack_dataset(folder / "other", chosen.other)
        strange = project(open_features(other_pack, chosen.backbone, cache).read_all(np.arange(len(other_pack)), 0))
        results = []
        for seed in range(SPLITS):
            split = split_images(pack.labels, seed)
            trained = train_recipe(Recipe(), pack.labels, classes, features, split, seed)
            training = (project(features.read_all(split.train, 0)), pack.labels[split.train])
            held_out = project(features.read_all(split.validation, 0))
            measured = prediction_statistics.measure(
                trained.training.validation_logits,
                pack.labels[split.validation],
                trained.temperature,
                held_out,
                training,
            )
            results.append(measure_split(trained, measured, strange))
    print(f"{describe()}. {SPLITS} splits, sets asked to cover {COVERAGE:.0%}.\n\n{HEADER}")
    print(f"| {dataset.name} | {chosen.other.name} | {chosen.backbone} | {' | '.join(format_figures(results))} |")


def measure_split(
    trained: Trained, measured: prediction_statistics.PredictionStatistics, strange: np.ndarray
) -> Measured:
    """Measure sets on the test images of one split, and novelty against projected features of other images."""
    images, labels = np.arange(len(trained.labels)), trained.labels
    sets = measured.make_sets(trained.logits / trained.temperature, COVERAGE)
    summed = sum_probabilities(trained.logits / trained.temperature)
    novelty = StackedStatistics([measured.classes])
    known, new = (novelty.measure(rows)[:, 0] for rows in (project(trained.features), strange))
    return Measured(
        trained.accuracy,
        sets[images, labels].mean(),
        sets.sum(1).mean(),
        (~sets.any(1)).mean(),
        summed[images, labels].mean(),
        summed.sum(1).mean(),
        roc_auc_score(np.repeat([0, 1], [len(known), len(new)]), np.concatenate([known, new])),
        (known > 1).mean(),
        (new > 1).mean(),
        len(measured.to_bytes()),
    )


def sum_probabilities(logits: np.ndarray) -> np.ndarray:
    """Make sets of the most probable classes until their probabilities add up to the coverage: a mask (n, C)."""
    probabilities = np.exp(compute_log_probabilities(logits))
    order = np.argsort(-probabilities, axis=1)
    ordered = np.take_along_axis(probabilities, order, 1)
    is_in = ordered.cumsum(1) - ordered < COVERAGE
    sets = np.zeros(logits.shape, bool)
    np.put_along_axis(sets, order, is_in, 1)
    return sets


def format_figures(results: list[Measured]) -> list[str]:
    """Format means and standard deviations over the splits."""
    columns = dict(zip(Measured._fields, zip(*results, strict=True), strict=True))
    largest = max(columns.pop("bytes"))
    whole = {"size", "summed_size", "auroc"}
    figures = [
        f"{statistics.mean(values):.3f}" if name in whole else format_spread(values) for name, values in columns.items()
    ]
    return [*figures, f"{largest:,}"]


if __name__ == "__main__":
    main()
