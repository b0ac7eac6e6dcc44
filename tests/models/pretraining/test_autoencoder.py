"""Autoencoders against principal components, and against their formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.catalog.pretraining import Autoencoder
from models.nn.head import HiddenLayer
from models.pretraining.autoencoder import Reconstruction, fit, fit_with_decoder
from models.pretraining.greedy_layerwise import LayerTask


def correlated(rank: int, noise: float) -> torch.Tensor:
    """400 rows of 10 standardized features that have few causes."""
    torch.manual_seed(0)
    rows = torch.randn(400, rank) @ torch.randn(rank, 10) + noise * torch.randn(400, 10)
    return (rows - rows.mean(0)) / rows.std(0, correction=0)


def layer_of(inputs: torch.Tensor, width: int, activation: nn.Module) -> LayerTask:
    """A new layer on these inputs."""
    torch.manual_seed(1)
    layer = HiddenLayer(nn.Linear(inputs.shape[1], width), activation, nn.Dropout())
    return LayerTask(layer, inputs, is_first=True)


def test_a_linear_one_with_tied_weights_finds_the_principal_components() -> None:
    x = correlated(rank=5, noise=0.3)
    values = torch.linalg.svdvals(x)
    best = (values[3:] ** 2).sum() / x.numel()
    technique = Autoencoder(tied_weights=True, lr=0.01, epochs=60)
    reconstruction, losses = fit_with_decoder(technique, layer_of(x, 3, nn.Identity()), 50)
    error = (reconstruction(x) - x).square().mean().item()
    assert best <= error <= 1.03 * best
    assert losses[-1] < losses[0] / 2


def test_tied_weights_decode_with_the_transposed() -> None:
    x = correlated(rank=3, noise=0.1)
    layer = layer_of(x, 4, nn.Tanh())
    reconstruction, _ = fit_with_decoder(Autoencoder(tied_weights=True, epochs=2), layer, 50)
    code = torch.tanh(x @ layer.linear.weight.T + layer.linear.bias)
    torch.testing.assert_close(reconstruction(x), code @ layer.linear.weight + reconstruction.bias)
    assert {tuple(parameter.shape) for parameter in reconstruction.parameters()} == {(4, 10), (4,), (10,)}


def test_free_weights_decode_with_their_own() -> None:
    layer = layer_of(correlated(rank=3, noise=0.1), 4, nn.Tanh())
    reconstruction = Reconstruction(layer.layer, tied=False)
    assert reconstruction.weight is reconstruction.own
    assert sorted(tuple(p.shape) for p in reconstruction.parameters()) == [(4,), (4, 10), (10,), (10, 4)]


def test_one_step_is_that_of_adam_on_the_squared_error() -> None:
    x = correlated(rank=3, noise=0.1)
    layer = layer_of(x, 4, nn.Sigmoid())
    weight = layer.linear.weight.detach().clone().requires_grad_()
    bias = layer.linear.bias.detach().clone()
    code = torch.sigmoid(x @ weight.T + bias)
    ((code @ weight - x) ** 2).mean().backward()  # type: ignore[no-untyped-call]
    fit(Autoencoder(tied_weights=True, epochs=1, lr=0.01), layer, 400)
    expected = weight.detach() - 0.01 * weight.grad / (weight.grad.abs() + 1e-8)
    torch.testing.assert_close(layer.linear.weight.detach(), expected, atol=1e-5, rtol=1e-4)


def test_denoising_gives_back_more_of_what_noise_has_changed() -> None:
    x = correlated(rank=2, noise=0.1)
    noisy = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    errors = []
    for noise in (0.0, 0.5):
        technique = Autoencoder(noise=noise, lr=0.01, epochs=100)
        reconstruction, _ = fit_with_decoder(technique, layer_of(x, 10, nn.Identity()), 50)
        errors.append((reconstruction(noisy) - x).square().mean().item())
    plain, denoising = errors
    assert denoising < plain / 2


def test_noise_is_measured_by_what_it_disturbs() -> None:
    """Units that hardly move are not drowned: the same data at a tenth of the size is learned to the same share."""
    shares = []
    for size in (1.0, 0.1):
        x = size * correlated(rank=2, noise=0.1)
        _, losses = fit_with_decoder(Autoencoder(noise=0.5, lr=0.01, epochs=30), layer_of(x, 10, nn.Identity()), 50)
        shares.append(losses[-1] / size**2)
    assert shares[1] == pytest.approx(shares[0], rel=0.3)
