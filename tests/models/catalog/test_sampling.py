"""Sampling: how often an epoch goes through each image, and in which order."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import torch

from models.catalog.sampling import Balanced, Sampling, Shuffled
from models.catalog.technique import members
from tests.support.distributions import assert_counts

every_sampling = pytest.mark.parametrize("technique", members(Sampling))

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
SEVERAL = torch.tensor([[1, 0, 0]] * 6 + [[1, 1, 0]] * 2 + [[0, 0, 1]] + [[1, 0, 1]])
"""8 + 1 images of the first class, 2 of the second, 2 of the third."""


@every_sampling
@pytest.mark.parametrize("targets", [LABELS, SEVERAL, SEVERAL.float()])
def test_an_epoch_is_as_long_as_there_are_images(technique: type[Any], targets: torch.Tensor) -> None:
    order = technique().draw_order(targets)
    assert (order.shape, order.dtype) == ((len(targets),), torch.int64)
    assert order.min() >= 0
    assert order.max() < len(targets)


@every_sampling
def test_the_seed_decides(technique: type[Any]) -> None:
    torch.manual_seed(0)
    first, second = technique().draw_order(LABELS), technique().draw_order(LABELS)
    torch.manual_seed(0)
    assert torch.equal(technique().draw_order(LABELS), first)
    assert not torch.equal(first, second), "a new order each epoch"


def test_shuffled_takes_every_image_once_in_all_orders_equally_often() -> None:
    torch.manual_seed(0)
    counts = Counter(tuple(Shuffled().draw_order(torch.zeros(4, dtype=torch.int64)).tolist()) for _ in range(4800))
    assert set(counts) == set(permutations(range(4)))
    assert_counts(list(counts.values()), [1 / 24] * 24)


def test_balanced_draws_all_classes_equally_often_and_the_images_of_each() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([Balanced().draw_order(LABELS) for _ in range(200)])
    assert_counts(LABELS[drawn].bincount().tolist(), [1 / 3] * 3)
    shares = [1 / (3 * n) for n in (60, 30, 10) for _ in range(n)]
    assert_counts(drawn.bincount(minlength=100).tolist(), shares)


def test_balanced_counts_a_image_with_several_labels_for_its_rarest() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([Balanced().draw_order(SEVERAL) for _ in range(2000)])
    weights = torch.tensor([1 / 9] * 6 + [1 / 2] * 4)
    assert_counts(drawn.bincount(minlength=10).tolist(), (weights / weights.sum()).tolist())


def test_a_class_without_images_takes_no_draws() -> None:
    assert set(LABELS[Balanced().draw_order(LABELS + 1)].tolist()) <= {0, 1, 2}
