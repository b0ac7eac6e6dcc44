"""What augmented views give: `make views DATASET=path BACKBONE=local/NAME`, a row for each number of them.

The empty recipe with 0, 1, 2, 4, 8 and 16 augmented views, with new ones each epoch, and with as many as help (auto,
which may add one after another), each on the same five random stratified splits. What it costs is told in looks: how
often the trunk has to compute each image to train on.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy import opened, spread, trained
from benchmarks.floor import packed
from benchmarks.machine import describe
from benchmarks.material import arguments, scratch
from models.catalog.recipe import Recipe

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.features.sources import CachedFeatures

SPLITS = 5
FRESH = 64
"""Views of which none comes twice, as long as no more epochs are trained."""
CHOICES: dict[str, dict[str, Any]] = {
    **{str(views): {"cache": {"views": views}} for views in (0, 1, 2, 4, 8, 16)},
    "new ones each epoch": {"cache": {"views": FRESH}, "epochs": FRESH + 1},
    "auto, which grows": {"cache": {"views": 4, "grow": True}},
    "the empty recipe": {},
}


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = arguments("make views", __doc__)
    parser.add_argument("--cache", type=Path, help="a feature cache to use, such as a service's")
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        pack, classes = packed(folder, dataset)
        features = opened(pack, chosen.backbone, chosen.cache or folder / "cache")
        print(describe())
        print(f"### {chosen.backbone} on {dataset.name}, {SPLITS} splits\n")
        print("| augmented views | test accuracy, % | validation loss | looks | best epoch |\n|---|---|---|---|---|")
        for said, recipe in CHOICES.items():
            print(f"| {said} | {row(Recipe.model_validate(recipe), pack, classes, features)} |", flush=True)


def row(recipe: Recipe, pack: Pack, classes: list[str], features: CachedFeatures) -> str:
    """What a recipe comes to, over the splits."""
    accuracies, losses, looks, epochs = [], [], [], []
    for seed in range(SPLITS):
        accuracy, training = trained(recipe, pack, classes, features, seed)
        accuracies.append(accuracy)
        losses.append(min(training.losses))
        epochs.append(float(training.best_epoch))
        looks.append(1.0 + min(training.view_schedule.views, len(training.losses) - 1))
    figures = (f"{statistics.mean(values):.{digits}f}" for values, digits in ((losses, 4), (looks, 1), (epochs, 0)))
    return " | ".join([spread(tuple(accuracies)), *figures])


if __name__ == "__main__":
    main()
