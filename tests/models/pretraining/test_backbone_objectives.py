"""Losses of pretrained backbones agree with sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from models.catalog.backbone_pretraining import Contrastive, Denoising, Masked, Supervised
from models.networks.feature_network import FeatureNetwork, cut_before_classifier
from models.pretraining.backbone_objectives import (
    build_objective,
    compute_masked_loss,
    compute_nt_xent,
    draw_masks,
)
from tests.support.networks import given, network

SIZE = (3, 64, 64)


@pytest.fixture
def feature_network() -> FeatureNetwork:
    return cut_before_classifier(network("test_resnet"), SIZE, {})


def test_nt_xent_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(6, 4).double()
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in embeddings.tolist()]

    def similarity(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(unit[i], unit[j], strict=True)) / 0.5)

    losses = [
        -math.log(similarity(i, (i + 3) % 6) / sum(similarity(i, k) for k in range(6) if k != i)) for i in range(6)
    ]
    assert compute_nt_xent(embeddings, 0.5).item() == pytest.approx(sum(losses) / 6, rel=1e-12)


def test_nt_xent_is_least_where_views_of_an_image_agree() -> None:
    views = torch.eye(3)
    assert compute_nt_xent(torch.cat([views, views]), 0.1) < 1e-3
    assert compute_nt_xent(torch.cat([views, views.roll(1, 0)]), 0.1) > 9


def test_masked_pixels_alone_count() -> None:
    images, predicted = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    predicted[0, :, 0, 0] = torch.tensor([1.0, -2.0, 3.0])
    predicted[0, :, 1, 1] = 100.0
    covered = torch.tensor([[[[True, True], [False, False]]]])
    assert compute_masked_loss(predicted, images, covered).item() == pytest.approx((1 + 2 + 3) / 6)


@pytest.mark.parametrize(
    ("patch", "share", "patches", "expected"), [(32, 0.5, 4, 2), (16, 0.6, 16, 10), (64, 0.5, 1, 1)]
)
def test_a_share_of_the_patches_is_covered(patch: int, share: float, patches: int, expected: int) -> None:
    torch.manual_seed(0)
    masks = draw_masks(torch.zeros(5, *SIZE), patch, share)
    cells = masks.float().unfold(2, patch, patch).unfold(3, patch, patch).flatten(4).mean(4).flatten(1)
    assert cells.shape == (5, patches)
    assert cells.sum(1).tolist() == [expected] * 5
    assert set(cells.flatten().tolist()) <= {0.0, 1.0}
    if expected < patches:
        assert len({tuple(row.tolist()) for row in cells}) > 1


def test_patches_at_the_border_may_be_cut_off() -> None:
    assert draw_masks(torch.zeros(2, 3, 50, 70), 32, 0.5).shape == (2, 1, 50, 70)


def test_masked_images_hide_what_is_predicted(feature_network: FeatureNetwork) -> None:
    objective = build_objective(Masked(patch=32, share=0.5), feature_network, 0)
    images = given(SIZE)
    torch.manual_seed(0)
    covered = draw_masks(images, 32, 0.5)
    torch.manual_seed(0)
    loss = objective.compute_loss(images, torch.zeros(2))
    predicted = objective.decoder(objective.body(images.masked_fill(covered, 0.0)))  # type: ignore[operator]
    difference = (predicted - images).abs()[covered.expand_as(images)]
    assert loss.item() == pytest.approx(difference.mean().item(), rel=1e-5)


def test_denoising_restores_the_clean_image(feature_network: FeatureNetwork) -> None:
    objective = build_objective(Denoising(noise=0.3), feature_network, 0)
    images = given(SIZE)
    torch.manual_seed(0)
    loss = objective.compute_loss(images, torch.zeros(2))
    torch.manual_seed(0)
    noisy = images + 0.3 * torch.randn(images.shape)
    predicted = objective.decoder(objective.body(noisy))  # type: ignore[operator]
    assert loss.item() == pytest.approx(((predicted - images) ** 2).mean().item(), rel=1e-5)


def test_contrastive_views_come_one_after_the_other(feature_network: FeatureNetwork) -> None:
    objective = build_objective(Contrastive(temperature=0.5), feature_network, 0)
    images = given(SIZE, 4)
    embeddings = objective.projector(feature_network.trunk(images))  # type: ignore[operator]
    loss = objective.compute_loss(images, torch.zeros(2))
    assert loss.item() == pytest.approx(compute_nt_xent(embeddings, 0.5).item(), rel=1e-5)


def test_supervised_is_cross_entropy(feature_network: FeatureNetwork) -> None:
    objective = build_objective(Supervised(), feature_network, 3)
    images = given(SIZE)
    logits = objective.output(feature_network.trunk(images))  # type: ignore[operator]
    expected = -(logits.log_softmax(1)[0, 2] + logits.log_softmax(1)[1, 0]) / 2
    assert objective.compute_loss(images, torch.tensor([2, 0])).item() == pytest.approx(expected.item(), rel=1e-5)
