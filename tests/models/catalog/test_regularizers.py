"""Regularizers against the gradients and steps of their formulas, and against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.heads import MLP, Cosine, Linear
from models.catalog.recipe import Recipe
from models.catalog.regularizers import L1, L2, MaxNorm, WeightDecay
from models.features.standardization import Standardization
from models.networks.cut_network import CutNetwork
from models.training.trainable_model import TrainableModel


def weights() -> list[nn.Parameter]:
    """Make the weights of two layers, some of them zero."""
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(4, 6, dtype=torch.float64)), nn.Parameter(torch.randn(3, 4, dtype=torch.float64))]
    made[0].data[0, :2] = 0.0
    return made


def test_l1_is_the_sum_of_sizes_and_its_gradient_their_signs() -> None:
    given = weights()
    penalty = L1(strength=0.7).compute_penalty(given)
    assert penalty.item() == pytest.approx(0.7 * sum(np.abs(w.detach().numpy()).sum() for w in given), rel=1e-6)
    penalty.backward()  # type: ignore[no-untyped-call]
    for weight in given:
        torch.testing.assert_close(weight.grad, 0.7 * weight.detach().sign(), rtol=1e-6, atol=0)


def test_l2_is_half_the_sum_of_squares_and_its_gradient_the_weights() -> None:
    given = weights()
    penalty = L2(strength=0.7).compute_penalty(given)
    assert penalty.item() == pytest.approx(0.35 * sum((w.detach().numpy() ** 2).sum() for w in given), rel=1e-6)
    penalty.backward()  # type: ignore[no-untyped-call]
    for weight in given:
        torch.testing.assert_close(weight.grad, 0.7 * weight.detach(), rtol=1e-6, atol=0)


def test_l2_with_sgd_is_torchs_weight_decay() -> None:
    ours, theirs = weights(), weights()
    mine = torch.optim.SGD(ours, lr=0.1)
    torchs = torch.optim.SGD(theirs, lr=0.1, weight_decay=0.3)
    for _ in range(3):
        L2(strength=0.3).compute_penalty(ours).backward()  # type: ignore[no-untyped-call]
        for weight in theirs:
            weight.grad = torch.zeros_like(weight)
        mine.step()
        torchs.step()
        mine.zero_grad()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_weight_decay_is_the_decay_of_adamw() -> None:
    ours, theirs = weights(), weights()
    torchs = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.3)
    for _ in range(3):
        for weight in theirs:
            weight.grad = torch.zeros_like(weight)
        torchs.step()
        with torch.no_grad():
            WeightDecay(strength=0.3).constrain(ours, lr=0.1)
    for one, other, start in zip(ours, theirs, weights(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
        torch.testing.assert_close(one.detach(), start.detach() * 0.97**3, rtol=1e-6, atol=0)


def test_max_norm_shortens_what_is_too_long_and_leaves_the_rest() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-8.0, 6.0]]))
    with torch.no_grad():
        MaxNorm(r=2.0).constrain([weight], lr=0.1)
    expected = torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0], [-1.6, 1.2]])
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-6, atol=0)


def test_max_norm_is_of_the_weights_that_lead_into_one_unit() -> None:
    """torch.nn.Linear has them in rows."""
    layer = nn.Linear(5, 3)
    nn.init.normal_(layer.weight, std=10.0)
    with torch.no_grad():
        MaxNorm(r=1.0).constrain([layer.weight], lr=0.1)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(3), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("technique", "strength"), [(L1, 0.1 / 400), (L2, 10 / 400), (WeightDecay, 10 / 400)])
def test_auto_depends_on_the_number_of_images(technique: type[Any], strength: float) -> None:
    assert technique().resolve(400).known == pytest.approx(strength)
    assert technique(strength=0.5).resolve(400).known == 0.5
    assert MaxNorm().resolve(400) == MaxNorm()


def test_auto_of_l2_is_logistic_regression_with_c_a_tenth() -> None:
    """scikit-learn's minimizes C·Σ loss + Σ w²/2, and leaves the biases out."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x, y = random.normal(size=(50, 4)), random.integers(0, 3, 50)
    theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000).fit(x, y)
    linear = nn.Linear(4, 3, dtype=torch.float64)
    penalty = L2().resolve(50)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(linear(torch.tensor(x)), torch.tensor(y)) + penalty.compute_penalty(
            [linear.weight]
        )
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(linear.weight.detach().numpy(), theirs.coef_, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (Linear(), ["output.weight"]),
        (Cosine(), ["output.parametrizations.weight.original"]),
        (
            MLP(hidden=(6, 5), normalization="batch_norm", activation="prelu"),
            ["hidden.0.linear.weight", "hidden.1.linear.weight", "output.weight"],
        ),
        (MLP(hidden=(6,), normalization="layer_norm"), ["hidden.0.linear.weight", "output.weight"]),
    ],
)
def test_biases_norms_and_slopes_are_left_out(head: Any, expected: list[str]) -> None:
    network = head.resolve(8, 3).build(8, 3)
    cut_network = CutNetwork(None, nn.Identity(), "image", (8,), "")
    model = TrainableModel(cut_network, network, Standardization(torch.zeros(8), torch.ones(8)))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert [names[id(weight)] for weight in model.regularized_weights] == expected


def test_the_recommended_one_is_l2() -> None:
    assert Recipe().regularizers == (L2(),)
