"""Losses that pretrain a whole backbone, each with the layers that only it needs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.catalog.backbone_pretraining import Contrastive, Denoising, Masked
from models.networks.feature_map import find_feature_map

if TYPE_CHECKING:
    from models.catalog.backbone_pretraining import BackboneMethod
    from models.networks.feature_map import MapNetwork
    from models.networks.feature_network import FeatureNetwork

EMBEDDING = 128
"""Numbers of an image's embedding, whose similarities are compared."""


class Objective(nn.Module, ABC):
    """A loss over a network that is pretrained; `body` shares the network's weights."""

    body: nn.Module

    @abstractmethod
    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss of normalized images (V·B, 3, H, W), view after view, with classes (B,)."""


class ContrastiveObjective(Objective):
    """Tells two views of an image from those of the others."""

    def __init__(self, feature_network: FeatureNetwork, temperature: float) -> None:
        super().__init__()
        width = feature_network.num_features
        self.body = feature_network.trunk.network
        self.projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, EMBEDDING))
        self.temperature = temperature

    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute NT-Xent of two views of each image."""
        return compute_nt_xent(self.projector(self.body(images)), self.temperature)


def compute_nt_xent(embeddings: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute the normalized temperature-scaled cross entropy of embeddings (2B, d) (Chen et al., 2020).

    The second half has the other views of the images of the first half, in the same order.
    """
    unit = functional.normalize(embeddings, dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-math.inf)
    partners = torch.arange(len(unit), device=unit.device).roll(len(unit) // 2)
    return functional.cross_entropy(similarity, partners)


class PixelDecoder(nn.Module):
    """One linear layer from each position of a feature map to the pixels below it: (B, C, h, w) → (B, 3, H, W)."""

    def __init__(self, network: MapNetwork, size: tuple[int, int]) -> None:
        super().__init__()
        layout = network.layout
        self.size = size
        scale = max(math.ceil(size[0] / layout.height), math.ceil(size[1] / layout.width))
        self.layers = nn.Sequential(nn.Conv2d(layout.channels, 3 * scale**2, 1), nn.PixelShuffle(scale))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute pixels; where they are more than the image has, those beyond its border are cut off."""
        height, width = self.size
        pixels: torch.Tensor = self.layers(maps)[:, :, :height, :width]
        return pixels


class _Reconstruction(Objective):
    """Predicts pixels from the last feature map."""

    def __init__(self, feature_network: FeatureNetwork) -> None:
        super().__init__()
        self.body = find_feature_map(feature_network)
        _, height, width = feature_network.input_size
        self.decoder = PixelDecoder(self.body, (height, width))


class MaskedObjective(_Reconstruction):
    """Predicts the pixels of covered patches."""

    def __init__(self, feature_network: FeatureNetwork, patch: int, share: float) -> None:
        super().__init__(feature_network)
        self.patch, self.share = patch, share

    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the mean absolute difference of the covered pixels."""
        covered = draw_masks(images, self.patch, self.share)
        predicted = self.decoder(self.body(images * ~covered))
        return compute_masked_loss(predicted, images, covered)


def draw_masks(images: torch.Tensor, patch: int, share: float) -> torch.Tensor:
    """Draw which pixels of images (B, 3, H, W) are covered: bool (B, 1, H, W), true in a share of the patches.

    At least one patch of an image is covered, and at least one is not where it has several.
    """
    count, _, height, width = images.shape
    rows, columns = math.ceil(height / patch), math.ceil(width / patch)
    patches = rows * columns
    covered = min(max(1, round(share * patches)), max(1, patches - 1))
    ranks = torch.rand(count, patches).argsort(1).argsort(1)
    mask = (ranks < covered).view(count, 1, rows, columns)
    mask = mask.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return mask[:, :, :height, :width].to(images.device)


def compute_masked_loss(predicted: torch.Tensor, images: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """Compute the mean over covered pixels and their channels of |predicted - images|."""
    differences = (predicted - images).abs() * covered
    return differences.sum() / (covered.sum() * images.shape[1])


class DenoisingObjective(_Reconstruction):
    """Restores images from noisy ones."""

    def __init__(self, feature_network: FeatureNetwork, noise: float) -> None:
        super().__init__(feature_network)
        self.noise = noise

    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the mean squared difference of all pixels."""
        noise = torch.randn(images.shape).to(images.device)  # the same numbers on every device
        return functional.mse_loss(self.decoder(self.body(images + self.noise * noise)), images)


class SupervisedObjective(Objective):
    """Learns the labels of the images."""

    def __init__(self, feature_network: FeatureNetwork, num_classes: int) -> None:
        super().__init__()
        self.body = feature_network.trunk.network
        self.output = nn.Linear(feature_network.num_features, num_classes)

    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the cross entropy."""
        return functional.cross_entropy(self.output(self.body(images)), labels)


def build_objective(method: BackboneMethod, feature_network: FeatureNetwork, num_classes: int) -> Objective:
    """Build a method's loss over a network, with the layers that only it needs. Raises FeatureMapUnsupported."""
    match method:
        case Contrastive():
            return ContrastiveObjective(feature_network, method.temperature)
        case Masked():
            return MaskedObjective(feature_network, method.patch, method.share)
        case Denoising():
            return DenoisingObjective(feature_network, method.noise)
    return SupervisedObjective(feature_network, num_classes)
