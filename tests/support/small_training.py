"""Small runs of training for tests: a head on twelve features of coloured images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.catalog.recipe import Recipe
from models.features.cache import FeatureCache
from models.features.sources import CachedFeatures, RenderedImages
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from models.messages import EpochEnded
from models.networks.cut_network import CutNetwork
from models.training.inputs import Subset, TrainingRun
from models.training.loop import Training
from models.training.trainable_model import TrainableModel
from tests.support.small_pack import PREPROCESSING, Corner

if TYPE_CHECKING:
    from pathlib import Path

    from models.catalog.recipe import ResolvedRecipe
    from models.datasets.pack import Pack
    from models.features.sources import FeatureSource

CLASSES = ["red", "green", "blue"]


def small_run(pack: Pack, folder: Path, **choices: object) -> TrainingRun:
    """Prepare a run on cached features before its first step: 60 of 90 images to train on, 30 to validate on."""
    recipe = _resolve({"epochs": 6, "batch_size": 16, "cache": {"views": 2}, **choices})
    if recipe.optimizer.lr == "auto":
        recipe = recipe.with_rate(0.002)
    stores = [
        FeatureStore(FeatureCache(folder), {"kind": kind}, (12,), np.dtype(np.float16))
        for kind in ("plain", "augmented")
    ]
    views = Views(PREPROCESSING, recipe.image_augmentations)
    source = CachedFeatures(pack, views, _trunk(), lambda view: stores[min(view, 1)])
    return _run(recipe, pack, source)


def train_small(
    pack: Pack, folder: Path, heard: list[Any] | None = None, **choices: object
) -> tuple[Training, list[EpochEnded]]:
    """Train a small run; all events are appended to `heard`."""
    training = Training(small_run(pack, folder, **choices))
    events = list(training.train())
    (heard if heard is not None else []).extend(events)
    return training, [event for event in events if isinstance(event, EpochEnded)]


def uncached_training(pack: Pack, rare: int | None = None, **choices: Any) -> Training:
    """Prepare a training before its first step on images that are rendered anew; of class `rare`, four are left."""
    recipe = _resolve({"epochs": 3, "batch_size": 16, "cache": {"mode": "off", "views": 2}, **choices})
    source = RenderedImages(pack, Views(PREPROCESSING, recipe.image_augmentations), _trunk())
    return Training(_run(recipe.with_rate(0.002), pack, source, rare))


def _resolve(choices: dict[str, Any]) -> ResolvedRecipe:
    return Recipe.model_validate(choices).resolve(
        task="single_label", image_size=16, num_features=12, class_counts=dict.fromkeys(CLASSES, 20), images=60
    )


def _trunk() -> Trunk:
    return Trunk(Corner(), PREPROCESSING, torch.device("cpu"))


def _run(recipe: ResolvedRecipe, pack: Pack, source: FeatureSource, rare: int | None = None) -> TrainingRun:
    order = np.random.default_rng(0).permutation(90)
    train, validation = np.sort(order[:60]), np.sort(order[60:])
    if rare is not None:
        train = np.delete(train, np.flatnonzero(pack.labels[train] == rare)[4:])
    cut_network = CutNetwork(Corner(), torch.nn.Identity(), "corner", (12,), "")
    model = TrainableModel.from_recipe(recipe, 3, cut_network, source, train)
    subsets = (Subset(images, pack.labels[images]) for images in (train, validation))
    return TrainingRun(recipe, CLASSES, model, source, *subsets)
