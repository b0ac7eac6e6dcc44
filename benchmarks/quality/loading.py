"""Networks, images and transforms of the peers that run in this process: timm's own, as their users have them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.transforms import str_to_interp_mode
from torch import nn
from torchvision import transforms

from models.networks.feature_network import cut_before_classifier
from models.networks.graph_network import GraphNetwork
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.backbones.backbone import Backbone
    from models.datasets.pack import Pack
    from models.images.preprocessing import Preprocessing

    Transform = Callable[[Image.Image], torch.Tensor]

LEAST_AREA, MOST_ASPECT = 0.8, 1.25
"""Crops are mild: counted and placed objects are to stay in the image."""


def build_features(backbone: Backbone) -> tuple[nn.Module, int]:
    """Build the network up to its pooled features; returns it with their number.

    Networks of timm are cut by timm. An imported one has no twin there, and is cut as Graft cuts it.
    """
    size = backbone.preprocessing.input_size
    if isinstance(backbone.network, GraphNetwork):
        network = cut_before_classifier(backbone.network, size, {}).trunk.network
    else:
        backbone.network.reset_classifier(0)
        network = as_module(backbone.network)
    network.requires_grad_(True)
    with torch.inference_mode():
        width = network.eval()(torch.zeros(1, *size)).shape[1]
    return network, width


def build_classifier(backbone: Backbone, classes: int) -> nn.Module:
    """Build the network with a new linear layer on its pooled features."""
    network, width = build_features(backbone)
    return nn.Sequential(network, nn.Linear(width, classes))


def build_transform(preprocessing: Preprocessing) -> Transform:
    """Build timm's transform for evaluation."""
    made: Transform = create_transform(
        input_size=preprocessing.input_size,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        is_training=False,
    )
    return made


def build_augmentation(preprocessing: Preprocessing, can_flip: bool) -> Transform:
    """Build mild random crops, with random flips where a mirrored image is of the same class."""
    steps: list[Any] = [
        transforms.RandomResizedCrop(
            preprocessing.input_size[1:],
            scale=(LEAST_AREA, 1.0),
            ratio=(1 / MOST_ASPECT, MOST_ASPECT),
            interpolation=str_to_interp_mode(preprocessing.interpolation),
        ),
        *([transforms.RandomHorizontalFlip()] if can_flip else []),
        transforms.ToTensor(),
        transforms.Normalize(preprocessing.mean, preprocessing.std),
    ]
    made: Transform = transforms.Compose(steps)
    return made


def load_images(pack: Pack) -> list[Image.Image]:
    """Load all images of a pack into memory."""
    return [Image.open(io.BytesIO(pack.read_file(image))).convert("RGB") for image in range(len(pack))]
