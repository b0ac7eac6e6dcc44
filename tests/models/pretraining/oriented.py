"""Pictures that have an upper and a lower side, and what there is to pretrain with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

from models.catalog.recipe import Recipe
from models.division import Division, TrainedStage
from models.examples import Examples
from models.feature_cache import FeatureCache
from models.features import Features
from models.grafted import Grafted
from models.pretraining import Material
from models.space import Space
from models.surgery import Frozen
from models.trunk import Trunk
from models.views import Views
from tests.models.small_pack import PREPROCESSING, packed
from tests.pictures import encoded, write_zip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.catalog.pictures import PictureAugmentation
    from models.datasets.pack import Pack
    from models.features import Source

CLASSES = ["dark", "light"]
MLP = {"kind": "mlp", "hidden": [8, 6], "dropout": 0.0}


def oriented(label: int, seed: int) -> Image.Image:
    """Brighter at the top than below, under noise; class 1 is brighter as a whole."""
    random = np.random.default_rng((label, seed))
    ground = np.linspace(190, 60, 16)[:, None, None] + 30 * label
    return Image.fromarray(np.clip(random.normal(ground, 25, (16, 16, 3)), 0, 255).astype(np.uint8))


def oriented_pack(folder: Path, each: int) -> Pack:
    """`each` pictures of both classes."""
    names = [(label, number) for label in (0, 1) for number in range(each)]
    files = {f"{CLASSES[label]}/{number:03}.png": encoded(oriented(label, number)) for label, number in names}
    return packed(write_zip(folder / "oriented.zip", files))


def shallow() -> Division:
    """All is trunk: 48 features, the mean colours of a grid."""
    trunk = Frozen(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()))
    return Division(trunk, nn.Identity(), "grid", (48,), "")


def deep() -> Division:
    """The grid is cached, and a stage above it can be trained: 24 features."""
    torch.manual_seed(7)
    norm = nn.BatchNorm2d(6, momentum=None)
    top = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.Flatten())
    top(torch.randn(512, 3, 4, 4))  # gives the norm its running means
    norm.momentum = 0.1
    stages = [TrainedStage("stage", dict(top.named_parameters()))]
    return Division(Frozen(nn.AdaptiveAvgPool2d(4)), top, "grid", (3, 4, 4), "", stages)


def prepared(pack: Pack, folder: Path, division: Division, **choices: object) -> tuple[Recipe, Grafted, Material]:
    """A resolved recipe with its new layers, and the pack to pretrain them with."""
    given = {"batch_size": 16, "cache": {"views": 2}, "head": MLP, "optimizer": {"lr": 0.01}, **choices}
    count = len(pack)
    features = int(division.top(torch.zeros(1, *division.shape)).numel())
    recipe = Recipe.model_validate(given).resolve(
        task="single_label",
        image_size=16,
        num_features=features,
        class_counts=dict.fromkeys(CLASSES, count // 2),
        pictures=count,
    )

    def opened(augmentations: Sequence[PictureAugmentation]) -> Source:
        views = Views(PREPROCESSING, augmentations)
        spaces = [
            Space(FeatureCache(folder), {"policy": policy}, division.shape, np.dtype(np.float16))
            for policy in ("", views.policy.hex())
        ]
        trunk = Trunk(division.trunk, PREPROCESSING, torch.device("cpu"))
        return Features(pack, views, trunk, lambda view: spaces[min(view, 1)])

    examples = Examples(np.arange(count), pack.labels)
    grafted = Grafted.of(recipe, len(CLASSES), division, opened(()), examples.pictures)
    return recipe, grafted, Material(opened, examples, CLASSES)
