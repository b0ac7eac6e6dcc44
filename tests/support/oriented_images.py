"""Images that have an upper and a lower side, and networks to pretrain on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

from models.catalog.recipe import Recipe
from models.features.cache import FeatureCache
from models.features.sources import CachedFeatures
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from models.networks.cut_network import CutNetwork, TrainedStage
from models.networks.feature_network import FrozenNetwork
from models.pretraining.pretrain import Material
from models.training.inputs import Subset, TrainingRun
from models.training.trainable_model import TrainableModel
from tests.support.images import encoded, write_zip
from tests.support.small_pack import PREPROCESSING, packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.catalog.image_ops import ImageAugmentation
    from models.datasets.pack import Pack
    from models.features.sources import FeatureSource

CLASSES = ["dark", "light"]
MLP = {"kind": "mlp", "hidden": [8, 6], "dropout": 0.0}


def oriented(label: int, seed: int) -> Image.Image:
    """Make an image that is brighter at the top than below, under noise; class 1 is brighter as a whole."""
    random = np.random.default_rng((label, seed))
    ground = np.linspace(190, 60, 16)[:, None, None] + 30 * label
    return Image.fromarray(np.clip(random.normal(ground, 25, (16, 16, 3)), 0, 255).astype(np.uint8))


def oriented_pack(folder: Path, each: int) -> Pack:
    """Write a pack of `each` images of both classes."""
    names = [(label, number) for label in (0, 1) for number in range(each)]
    files = {f"{CLASSES[label]}/{number:03}.png": encoded(oriented(label, number)) for label, number in names}
    return packed(write_zip(folder / "oriented.zip", files))


def shallow() -> CutNetwork:
    """Cut a network that is all trunk: 48 features, the mean colours of a grid."""
    trunk = FrozenNetwork(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()))
    return CutNetwork(trunk, nn.Identity(), "grid", (48,), "")


def deep() -> CutNetwork:
    """Cut a network below a stage that can be trained, of 24 features, above a cached grid."""
    torch.manual_seed(7)
    norm = nn.BatchNorm2d(6, momentum=None)
    top = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.Flatten())
    top(torch.randn(512, 3, 4, 4))  # gives the norm its running means
    norm.momentum = 0.1
    stages = [TrainedStage("stage", dict(top.named_parameters()), frozenset({"1.weight", "1.bias"}))]
    return CutNetwork(FrozenNetwork(nn.AdaptiveAvgPool2d(4)), top, "grid", (3, 4, 4), "", stages)


def prepared(
    pack: Pack, folder: Path, cut_network: CutNetwork, **choices: object
) -> tuple[TrainingRun, TrainableModel, Material]:
    """Prepare a run before its first step with its model, and the pack to pretrain it on."""
    given = {"batch_size": 16, "cache": {"views": 2}, "head": MLP, "optimizer": {"lr": 0.01}, **choices}
    count = len(pack)
    features = int(cut_network.top(torch.zeros(1, *cut_network.shape)).numel())
    recipe = Recipe.model_validate(given).resolve(
        task="single_label",
        image_size=16,
        num_features=features,
        class_counts=dict.fromkeys(CLASSES, count // 2),
        images=count,
    )

    def open_source(augmentations: Sequence[ImageAugmentation]) -> FeatureSource:
        views = Views(PREPROCESSING, augmentations)
        spaces = [
            FeatureStore(FeatureCache(folder), {"policy": policy}, cut_network.shape, np.dtype(np.float16))
            for policy in ("", views.policy.hex())
        ]
        trunk = Trunk(cut_network.trunk, PREPROCESSING, torch.device("cpu"))
        return CachedFeatures(pack, views, trunk, lambda view: spaces[min(view, 1)])

    examples = Subset(np.arange(count), pack.labels)
    source = open_source(())
    model = TrainableModel.from_recipe(recipe, len(CLASSES), cut_network, source, examples.images)
    run = TrainingRun(recipe, CLASSES, model, source, examples, examples)
    return run, model, Material(open_source, examples, CLASSES)
