"""The moving average against its recursion by hand, and torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.catalog.weight_averaging import ExponentialMovingAverage
from models.training.ema import MovingAverage


def walked(network: nn.Module, steps: int) -> list[torch.Tensor]:
    """Random weights for each of some steps."""
    torch.manual_seed(1)
    return [torch.randn_like(network.weight) for _ in range(steps)]


def layer() -> nn.Linear:
    """A network with one weight matrix."""
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False)


def averaged(average: MovingAverage, network: nn.Module) -> torch.Tensor:
    """Read the weights while the average is applied."""
    with average.swap_in():
        weight: torch.Tensor = network.weight.detach().clone()
    return weight


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_is_its_recursion(decay: float) -> None:
    network = layer()
    technique = ExponentialMovingAverage(decay=decay)
    average, expected = MovingAverage(technique, network), network.weight.detach().double()
    for step, weight in enumerate(walked(network, 30)):
        with torch.no_grad():
            network.weight.copy_(weight)
        average.update()
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * weight.double()
        torch.testing.assert_close(averaged(average, network).double(), expected, rtol=1e-6, atol=1e-6)


def test_with_a_small_decay_it_is_torchs() -> None:
    """Torch's has no warm-up, and ours none where the decay is at most that of its first step."""
    network = layer()
    average = MovingAverage(ExponentialMovingAverage(decay=0.1), network)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.1))  # type: ignore[no-untyped-call]
    theirs.update_parameters(network)
    for weight in walked(network, 10):
        with torch.no_grad():
            network.weight.copy_(weight)
        average.update()
        theirs.update_parameters(network)
        torch.testing.assert_close(averaged(average, network), theirs.module.weight.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (80, 0.9), (880, 881 / 890), (890, 0.99), (10**6, 0.99)]
)
def test_the_share_warms_up_to_the_decay(step: int, share: float) -> None:
    assert ExponentialMovingAverage(decay=0.99).compute_decay(step) == pytest.approx(share)


def test_the_weights_are_back_after_the_average_was_applied() -> None:
    network = layer()
    average = MovingAverage(ExponentialMovingAverage(), network)
    own = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update()
    with pytest.raises(KeyError), average.swap_in():
        assert not torch.equal(network.weight, own + 1.0)
        raise KeyError
    assert torch.equal(network.weight, own + 1.0)


def test_the_statistics_of_batch_normalization_are_averaged_with_the_weights() -> None:
    """Weights would else be normalized by statistics that belong to others."""
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    norm = network[1]
    average = MovingAverage(ExponentialMovingAverage(decay=0.5), network)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    for step in range(20):
        network(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)) + step)
        average.update()
        share = min(0.5, (1 + step) / (10 + step))
        mean = share * mean + (1 - share) * norm.running_mean
        var = share * var + (1 - share) * norm.running_var
    own = norm.running_mean.clone()
    with average.swap_in():
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, var)
        assert not torch.allclose(norm.running_mean, own)
    assert torch.equal(norm.running_mean, own)


def test_it_resumes_from_a_state() -> None:
    network = layer()
    average, other = (MovingAverage(ExponentialMovingAverage(), network) for _ in range(2))
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update()
    other.load_state_dict(average.state_dict())
    for one in (average, other):
        with torch.no_grad():
            network.weight.fill_(3.0)
        one.update()
    assert other.steps == average.steps == 2
    assert torch.equal(averaged(other, network), averaged(average, network))
