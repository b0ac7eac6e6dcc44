"""Saliency: of a network that tells classes by a patch, the map lies on the patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch
from torch import nn

from models.catalog.cuts import Top
from models.networks.cut_network import cut_at
from models.networks.feature_network import cut_before_classifier
from models.networks.saliency import compute_saliency, find_position_axes
from tests.support.networks import network as build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE, PATCH = 224, 56
CHANCE = (PATCH / SIDE) ** 2


def draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    """Draw coarse noise with a patch of stripes, lying or standing, anywhere: images, classes, corners of patches."""
    random = np.random.default_rng(seed)
    images = random.uniform(-0.5, 0.5, (count, 3, SIDE // 8, SIDE // 8)).repeat(8, 2).repeat(8, 3).astype(np.float32)
    classes = np.arange(count) % 2
    corners = [(int(top), int(left)) for top, left in random.integers(0, SIDE - PATCH, (count, 2))]
    stripes = np.where(np.arange(PATCH) % 8 < 4, 1, -1)
    for image, label, (top, left) in zip(images, classes, corners, strict=True):
        image[:, top : top + PATCH, left : left + PATCH] = stripes[:, None] if label else stripes[None]
    return torch.from_numpy(images), torch.from_numpy(classes), corners


def fit(features: torch.Tensor, classes: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Fit a linear head: the difference of the classes' means, each feature over its variance."""
    means = torch.stack([features[classes == label].mean(0) for label in (0, 1)])
    direction = (means[1] - means[0]) / features.var(0).clamp_min(1e-8)
    weight = torch.stack([-direction, direction])
    bias = -weight @ means.mean(0)
    return lambda values: values @ weight.T + bias


@pytest.mark.parametrize("name", ["mobilenetv2_100", "vit_tiny_patch16_224"])
def test_the_map_lies_on_the_patch(name: str, material: Path) -> None:
    """A head on a pretrained trunk, as jobs train it: measured 4 times chance for the CNN, 6 times for the ViT."""
    network = timm.create_model(name, checkpoint_path=str(material / "weights" / name / "model.safetensors")).eval()
    trunk = cut_before_classifier(network, (3, SIDE, SIDE), {}).trunk
    images, classes, _ = draw(80, 0)
    with torch.no_grad():
        head = fit(trunk(images), classes)
    images, classes, corners = draw(6, 1)
    assert (head(trunk(images)).argmax(1) == classes).float().mean() > 0.8
    shares = []
    for image, label, (top, left) in zip(images, classes, corners, strict=True):

        def score(value: torch.Tensor, label: torch.Tensor = label) -> torch.Tensor:
            logits = head(value)[0]
            return logits[label] - logits.mean()

        found = compute_saliency(trunk, score, image[None])
        assert found.min() >= 0
        scaled = nn.functional.interpolate(found[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        shares.append(float(scaled[top : top + PATCH, left : left + PATCH].sum() / scaled.sum()))
    assert np.mean(shares) > 2.5 * CHANCE, shares


def test_of_pooled_features_it_is_gradcam() -> None:
    network = build_network("test_resnet")
    trunk = cut_before_classifier(network, (3, 96, 64), {}).trunk
    image, weight = torch.randn(1, 3, 96, 64), torch.randn(network.num_features)
    found = compute_saliency(trunk, lambda value: value[0] @ weight, image)
    with torch.no_grad():
        activations = network.forward_features(image)[0]
    expected = torch.einsum("chw,c->hw", activations, weight).clamp_min(0) / activations[0].numel()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_at_a_cut_amid_the_network_the_stages_above_count() -> None:
    network = build_network("test_resnet")
    feature_network = cut_before_classifier(network, (3, 64, 64), {})
    cut = cut_at(feature_network, Top())
    assert cut.trunk is not None
    assert len(cut.shape) == 3
    found = compute_saliency(cut.trunk, lambda value: cut.top(value)[0].sum(), torch.randn(1, 3, 64, 64))
    assert found.shape == cut.shape[1:]
    assert found.any()


def test_without_positions_it_is_that_of_the_pixels() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    image = torch.randn(1, 3, 8, 8)
    found = compute_saliency(trunk, lambda value: value[0, 2], image)
    weight = trunk[1].weight[2].detach().reshape(3, 8, 8)
    torch.testing.assert_close(found, (image[0] * weight).sum(0).clamp_min(0))


def test_where_nothing_speaks_for_the_class_it_is_empty() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    found = compute_saliency(trunk, lambda value: 0 * value.sum(), torch.randn(1, 3, 8, 8))
    assert not found.any()


@pytest.mark.parametrize(
    ("shape", "ratio", "axes"),
    [
        ((8, 7, 7), 1.0, (1, 2)),
        ((7, 7, 8), 1.0, (0, 1)),
        ((7, 7, 7), 1.0, (1, 2)),
        ((4, 7, 64), 0.5, (0, 1)),  # of 100 x 200 pixels by stride 30
        ((64, 4, 7), 0.5, (1, 2)),
        ((64, 1, 1), 1.0, None),
        ((64, 9, 2), 1.0, None),
    ],
)
def test_positions_are_the_axes_in_the_proportions_of_the_input(
    shape: tuple[int, int, int], ratio: float, axes: tuple[int, int] | None
) -> None:
    assert find_position_axes(shape, ratio) == axes
