"""Accuracy by number of augmented views: `make views DATASET=path BACKBONE=local/NAME`.

The empty recipe with 0, 1, 2, 4, 8 and 16 augmented views, with new views in each epoch, and with auto, which adds
views while they help; each on the same five random stratified splits. The cost is given in looks: how often the trunk
computes each training image.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy import format_spread, open_material, split_images, train_recipe
from benchmarks.machine import describe
from models.catalog.recipe import Recipe

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.features.sources import CachedFeatures

SPLITS = 5
FRESH = 64
"""Views enough that none is used twice within this many epochs."""
CHOICES: dict[str, dict[str, Any]] = {
    **{str(views): {"cache": {"views": views}} for views in (0, 1, 2, 4, 8, 16)},
    "new ones each epoch": {"cache": {"views": FRESH}, "epochs": FRESH + 1},
    "auto, which grows": {"cache": {"views": 4, "grow": True}},
    "the empty recipe": {},
}


def main() -> None:
    """Run the benchmark and print a table in Markdown."""
    with open_material("make views", __doc__) as (dataset, backbone, pack, classes, features):
        print(describe())
        print(f"### {backbone} on {dataset.name}, {SPLITS} splits\n")
        print("| augmented views | test accuracy, % | validation loss | looks | best epoch |\n|---|---|---|---|---|")
        for words, recipe in CHOICES.items():
            print(f"| {words} | {measure_row(Recipe.model_validate(recipe), pack, classes, features)} |", flush=True)


def measure_row(recipe: Recipe, pack: Pack, classes: list[str], features: CachedFeatures) -> str:
    """Train a recipe on all splits and format its row."""
    accuracies, losses, looks, epochs = [], [], [], []
    for seed in range(SPLITS):
        trained = train_recipe(recipe, pack.labels, classes, features, split_images(pack.labels, seed), seed)
        training = trained.training
        accuracies.append(trained.accuracy)
        losses.append(min(training.losses))
        epochs.append(float(training.best_epoch))
        looks.append(1.0 + min(training.view_schedule.views, len(training.losses) - 1))
    figures = (f"{statistics.mean(values):.{digits}f}" for values, digits in ((losses, 4), (looks, 1), (epochs, 0)))
    return " | ".join([format_spread(tuple(accuracies)), *figures])


if __name__ == "__main__":
    main()
