"""Class priors against counts, and a head that starts from them against the constant predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from models.training.class_priors import compute_class_shares, compute_class_weights, initialize_bias
from tests.support.small_training import small_run

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack


def shares(labels: np.ndarray) -> torch.Tensor:
    """Share of each class."""
    return torch.from_numpy(np.bincount(labels, minlength=3) / len(labels)).float()


@pytest.mark.parametrize("head", ["linear", {"kind": "mlp", "hidden": [8]}])
def test_a_head_without_features_says_how_often_each_class_occurs(pack: Pack, tmp_path: Path, head: Any) -> None:
    run = small_run(pack, tmp_path, head=head)
    initialize_bias(run)
    torch.testing.assert_close(run.model.head.output.bias.softmax(0), shares(run.train.labels))


def test_class_weights_and_balanced_sampling_count(pack: Pack, tmp_path: Path) -> None:
    plain = small_run(pack, tmp_path)
    expected = shares(plain.train.labels)
    weighted = small_run(pack, tmp_path, loss={"class_weights": {"red": 4.0}})
    initialize_bias(weighted)
    lifted = expected * torch.tensor([4.0, 1.0, 1.0])
    torch.testing.assert_close(weighted.model.head.output.bias.softmax(0), lifted / lifted.sum())
    balanced = small_run(pack, tmp_path, sampling="balanced")
    initialize_bias(balanced)
    torch.testing.assert_close(balanced.model.head.output.bias.softmax(0), torch.full((3,), 1 / 3))
    torch.testing.assert_close(compute_class_weights(balanced) * expected, torch.full((3,), 1 / 3))
    assert compute_class_weights(plain).tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(compute_class_shares(plain), expected)


def test_by_binary_cross_entropy_each_class_has_its_own_odds(pack: Pack, tmp_path: Path) -> None:
    run = small_run(pack, tmp_path, loss="binary_cross_entropy")
    initialize_bias(run)
    counts = np.bincount(run.train.labels, minlength=3)
    odds = torch.from_numpy((counts + 0.5) / (60 - counts + 0.5)).float()
    torch.testing.assert_close(run.model.head.output.bias.exp(), odds)


def test_a_cosine_head_has_no_bias_to_start(pack: Pack, tmp_path: Path) -> None:
    run = small_run(pack, tmp_path, head="cosine")
    before = run.model.copy_state()
    initialize_bias(run)
    assert all(torch.equal(before[name], tensor) for name, tensor in run.model.state_dict().items())
