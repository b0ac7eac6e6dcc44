"""Calibration of the empty recipe: `make calibration DATASET=path BACKBONE=local/NAME`.

Expected calibration error (15 bins) and negative log-likelihood on the test images of 20 random stratified splits
(70 : 15 : 15), before and after the temperature that is fitted to the validation images of each. Probabilities of all
splits are pooled for the error: it is never below zero, so that of one split of a few hundred images is mostly chance.
What chance alone leaves of the pooled error is drawn: labels that are right as often as the probabilities say.
"""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.accuracy import open_material, split_images, train_recipe
from benchmarks.machine import describe
from models.catalog.recipe import Recipe
from models.evaluation.calibration import compute_calibration_error
from models.evaluation.metrics import compute_log_probabilities

SPLITS = 20
DRAWS = 20
HEADER = """\
| images | backbone | temperature | ECE before | ECE | of chance alone | NLL before | NLL | NLL gained a split |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run the benchmark and print a row in Markdown."""
    with open_material("make calibration", __doc__) as (dataset, backbone, pack, classes, features):
        splits = (split_images(pack.labels, seed) for seed in range(SPLITS))
        results = [
            train_recipe(Recipe(), pack.labels, classes, features, split, seed) for seed, split in enumerate(splits)
        ]
    labels = np.concatenate([result.labels for result in results])
    before = np.concatenate([result.logits for result in results])
    after = np.concatenate([result.logits / result.temperature for result in results])
    losses = [
        (compute_loss(result.logits, result.labels), compute_loss(result.logits / result.temperature, result.labels))
        for result in results
    ]
    gains = [one - other for one, other in losses]
    error = statistics.stdev(gains) / len(gains) ** 0.5
    figures = [
        f"{statistics.mean(result.temperature for result in results):.2f}",
        *(f"{compute_calibration_error(logits, labels):.1%}" for logits in (before, after)),
        f"{draw_chance(after):.1%}",
        *(f"{statistics.mean(values):.4f}" for values in zip(*losses, strict=True)),
        f"{statistics.mean(gains):+.4f} ± {error:.4f}",
    ]
    print(f"{describe()}. {SPLITS} splits.\n\n{HEADER}")
    print(f"| {dataset.name} | {backbone} | {' | '.join(figures)} |")


def compute_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean negative log-likelihood."""
    return float(-compute_log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def draw_chance(logits: np.ndarray) -> float:
    """Draw the calibration error that a network of these logits would show if all its probabilities were right."""
    random = np.random.default_rng(0)
    cumulated = np.exp(compute_log_probabilities(logits)).cumsum(1)
    errors = []
    for _ in range(DRAWS):
        drawn = (random.random((len(logits), 1)) > cumulated).sum(1)
        errors.append(compute_calibration_error(logits, np.minimum(drawn, logits.shape[1] - 1)))
    return statistics.mean(errors)


if __name__ == "__main__":
    main()
