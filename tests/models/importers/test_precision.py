"""Networks run in float64, and are as they were after it."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from models.importers.precision import run_in_float32, run_in_float64
from tests.support.imported_networks import make_graph, make_images, make_network


class Casting(nn.Module):
    """A network that names the type of its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = make_network()
        self.register_buffer("scale", torch.full((1, 3, 1, 1), 0.1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network((images * self.scale.float()).to(torch.float32) + torch.zeros(1))
        return output


def test_float64_computes_with_the_same_weights() -> None:
    network, images = Casting().eval(), make_images()["rendered"]
    with torch.no_grad():
        expected = copy.deepcopy(network).double().network(torch.from_numpy(images).double() * network.scale.double())
    found = run_in_float64(make_graph(network), images, lambda: None)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


def test_the_network_is_as_before() -> None:
    graph, images = make_graph(Casting().eval()), make_images()["rendered"]
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    first = run_in_float32(graph, images, lambda: None)
    run_in_float64(graph, images, lambda: None)
    after = graph.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    for one, again in zip(first, run_in_float32(graph, images, lambda: None), strict=True):
        np.testing.assert_array_equal(one, again)


def test_several_orders_of_summation_round_differently() -> None:
    graph, images = make_graph(make_network()), make_images()["rendered"]
    exact = run_in_float64(graph, images, lambda: None)
    differences = [np.abs(one - exact).max() for one in run_in_float32(graph, images, lambda: None)]
    assert len(differences) == 3
    assert all(0.0 < one < 1e-3 for one in differences)
