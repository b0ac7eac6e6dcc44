"""Restricted Boltzmann machines against hand-computed steps, and against a likelihood that can be counted out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.pretraining import RestrictedBoltzmannMachine
from models.nn.head import HiddenLayer
from models.pretraining.greedy_layerwise import LayerTask
from models.pretraining.rbm import Machine, fit

KINDS = pytest.mark.parametrize("is_gaussian", [True, False], ids=["gaussian", "binary"])


def data(is_gaussian: bool, count: int = 200) -> torch.Tensor:
    """Rows of 6 numbers with two causes."""
    generator = torch.Generator().manual_seed(2)
    causes = torch.randint(0, 2, (count, 2), generator=generator).float()
    pattern = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    if not is_gaussian:
        flips = torch.rand(count, 6, generator=generator) < 0.05
        return (causes @ pattern).logical_xor(flips).float()
    rows = causes @ pattern + 0.3 * torch.randn(count, 6, generator=generator)
    return (rows - rows.mean(0)) / rows.std(0, correction=0)


def layer_of(inputs: torch.Tensor, width: int, is_gaussian: bool) -> LayerTask:
    """A new layer on these inputs."""
    torch.manual_seed(1)
    layer = HiddenLayer(nn.Linear(inputs.shape[1], width), nn.Sigmoid(), nn.Dropout())
    return LayerTask(layer, inputs, is_first=is_gaussian)


def sigmoid(z: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = 1 / (1 + np.exp(-z))
    return probabilities


@KINDS
@pytest.mark.parametrize("steps", [1, 3])
def test_two_steps_are_those_of_the_formula(is_gaussian: bool, steps: int) -> None:
    """In double precision, unit by unit, from the same draws."""
    rows = data(is_gaussian, 20)
    layer = layer_of(rows, 4, is_gaussian)
    w, b = (p.detach().double().numpy().copy() for p in (layer.linear.weight, layer.linear.bias))
    c, speeds = np.zeros(6), [np.zeros((4, 6)), np.zeros(4), np.zeros(6)]
    torch.manual_seed(9)
    for _ in range(2):
        v = rows[torch.randperm(20)].double().numpy()
        h = sigmoid(v @ w.T + b)
        v_k, h_k = v, h
        for _ in range(steps):
            drawn = (torch.rand(20, 4).double().numpy() < h_k).astype(float)
            v_k = drawn @ w + c
            v_k = v_k if is_gaussian else sigmoid(v_k)
            h_k = sigmoid(v_k @ w.T + b)
        changes = [
            np.mean([np.outer(h[n], v[n]) - np.outer(h_k[n], v_k[n]) for n in range(20)], 0),
            (h - h_k).mean(0),
            (v - v_k).mean(0),
        ]
        speeds = [0.5 * speed + 0.1 * change for speed, change in zip(speeds, changes, strict=True)]
        w, b, c = w + speeds[0], b + speeds[1], c + speeds[2]
    torch.manual_seed(9)
    fit(RestrictedBoltzmannMachine(steps=steps, lr=0.1, momentum=0.5, epochs=2), layer, 20)
    np.testing.assert_allclose(layer.linear.weight.detach().numpy(), w, atol=1e-5)
    np.testing.assert_allclose(layer.linear.bias.detach().numpy(), b, atol=1e-5)


@KINDS
def test_the_first_step_from_no_weights_is_known(is_gaussian: bool) -> None:
    """Each h is 1/2 whatever v is, and v is dreamt at 0, or at 1/2: ΔW = ⟨v⟩/2, or (⟨v⟩ - 1/2)/2."""
    rows = data(is_gaussian) + (0.3 if is_gaussian else 0.0)
    layer = layer_of(rows, 4, is_gaussian)
    nn.init.zeros_(layer.linear.weight)
    nn.init.zeros_(layer.linear.bias)
    fit(RestrictedBoltzmannMachine(lr=0.1, epochs=1), layer, 200)
    expected = 0.1 * (rows.mean(0) - (0.0 if is_gaussian else 0.5)) / 2
    torch.testing.assert_close(layer.linear.weight.detach(), expected.expand(4, 6), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.linear.bias.detach(), torch.zeros(4), atol=1e-6, rtol=0)


@KINDS
def test_its_gradient_is_that_of_the_free_energies(is_gaussian: bool) -> None:
    """∂(⟨F(v)⟩ - ⟨F(v_k)⟩), v_k held fixed, by autograd."""
    v = data(is_gaussian)
    machine = Machine(layer_of(v, 4, is_gaussian))
    nn.init.normal_(machine.visible)
    parameters = [machine.weight, machine.hidden, machine.visible]
    v_k = machine.sample(v, 2).detach()
    gap = machine.compute_free_energy(v).mean() - machine.compute_free_energy(v_k).mean()
    expected = torch.autograd.grad(gap, parameters)
    with torch.no_grad():
        machine.set_gradients(v, v_k)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_the_free_energy_sums_over_all_hidden_states() -> None:
    v = data(is_gaussian=False, count=5)
    machine = Machine(layer_of(v, 4, is_gaussian=False))
    nn.init.normal_(machine.visible)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    joint = v @ machine.visible[:, None] + states @ machine.hidden + v @ machine.weight.T @ states.T
    torch.testing.assert_close(machine.compute_free_energy(v), -joint.logsumexp(1))


def test_binary_data_become_likely() -> None:
    """p(v) over all 64 states: contrastive divergence comes near to the entropy of the data."""
    v = data(is_gaussian=False)
    layer = layer_of(v, 4, is_gaussian=False)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))

    def likelihood(machine: Machine) -> float:
        with torch.no_grad():
            return (-machine.compute_free_energy(v).mean() - (-machine.compute_free_energy(states)).logsumexp(0)).item()

    counts = torch.unique(v, dim=0, return_counts=True)[1] / len(v)
    most = (counts * counts.log()).sum().item()
    before = likelihood(Machine(layer))
    machine = Machine(layer)
    optimizer = torch.optim.SGD([machine.weight, machine.hidden, machine.visible], lr=0.05, momentum=0.9)
    with torch.no_grad():
        for _ in range(200):
            for rows in layer.batches(50):
                machine.set_gradients(rows, machine.sample(rows, 1))
                optimizer.step()
    assert before == pytest.approx(-4.2, abs=0.3)
    assert most - 0.35 < likelihood(machine) < most


@KINDS
def test_what_it_dreams_comes_near_to_the_data(is_gaussian: bool) -> None:
    layer = layer_of(data(is_gaussian), 4, is_gaussian)
    found = fit(RestrictedBoltzmannMachine(lr=0.02, epochs=40), layer, 20)
    assert found.losses[-1] < 0.6 * found.losses[0]
    assert found.figures["last_free_energy_gap"] < found.figures["first_free_energy_gap"]
