"""Graft's own check: cuts to the bit, gradients, and images that do not depend on each other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from models.importers.errors import ImportRejected
from models.importers.structure_check import check_structure
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.imported_networks import make_graph, make_images, make_network


def make_batch() -> torch.Tensor:
    return torch.from_numpy(make_images(3)["rendered"])


def test_a_good_network_passes() -> None:
    graph = make_graph(make_network())
    check = check_structure(graph, make_batch(), {}, no_heartbeat)
    assert len(check.exact_cuts) == 2
    assert check.cuts >= 4
    assert check.parameters_above == check.parameters_with_gradient > 0
    assert check.dead_outputs == []
    assert check.batch_difference < 1e-4
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in graph.parameters())


def test_a_network_without_classifier_passes() -> None:
    network = make_network()
    features = nn.Sequential(network.stem, network.norm, network.act, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    graph = make_graph(features)
    assert graph.num_classes == 0
    assert check_structure(graph, make_batch(), {}, no_heartbeat).exact_cuts


class BatchNormalized(nn.Module):
    """A network in training mode: it normalizes by the batch that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.network = make_network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images - images.mean((0, 2, 3), keepdim=True))
        return output


def test_a_network_that_mixes_images_is_rejected() -> None:
    with pytest.raises(ImportRejected, match="evaluation mode") as caught:
        check_structure(make_graph(BatchNormalized().eval()), make_batch(), {}, no_heartbeat)
    assert caught.value.code == "batch_dependent"


def test_a_network_of_damaged_weights_is_rejected() -> None:
    damaged = copy.deepcopy(make_network())
    with torch.no_grad():
        damaged.stem.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ImportRejected, match="damaged") as caught:
        check_structure(make_graph(damaged), make_batch(), {}, no_heartbeat)
    assert caught.value.code == "not_finite"


def test_a_network_without_gradients_is_rejected() -> None:
    dead = copy.deepcopy(make_network())
    with torch.no_grad():
        dead.wide.weight.zero_()
        dead.wide.bias.fill_(-10.0)  # hard swish gives 0 there, and has no slope
    with pytest.raises(ImportRejected) as caught:
        check_structure(_cut_last(dead), make_batch(), {}, no_heartbeat)
    assert caught.value.code == "untrainable"


def _cut_last(network: nn.Module) -> Any:
    """Make a graph whose features are what the last activation gives."""
    return make_graph(nn.Sequential(*list(network.children())[:-1]).eval())


def test_layers_that_give_the_same_for_all_images_are_named() -> None:
    network = make_network()
    with torch.no_grad():
        network.depthwise.weight.zero_()
    check = check_structure(make_graph(network), make_batch(), {}, no_heartbeat)
    assert check.dead_outputs == ["depthwise"]
    assert check.parameters_with_gradient == check.parameters_above
