"""Networks of timm as graphs of plain torch, as converters of other formats make them."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from models.networks.graph_network import GraphNetwork
from models.networks.tracing import trace
from tests.support.networks import given, network

SIZE = (3, 64, 64)


def graph_network(name: str, **arguments: object) -> tuple[GraphNetwork, Any]:
    """Create a graph network and timm's own network that it was made of, which share their tensors."""
    whole = network(name, **arguments)
    for path, module in list(whole.named_modules()):
        if isinstance(module, BatchNormAct2d):
            whole.set_submodule(path, _split(module))
        if isinstance(module, timm.layers.Linear):
            module.__class__ = nn.Linear
    return from_network(whole), whole


def from_network(whole: nn.Module, input_size: tuple[int, int, int] = SIZE) -> GraphNetwork:
    """Trace a network of plain torch into a graph network for images of one size."""
    traced = trace(whole).fold_sizes(given(input_size, 1))
    return GraphNetwork.from_graph(whole, traced.graph, {node.name: path for node, path in traced.paths.items()}).eval()


def _split(module: BatchNormAct2d) -> nn.Sequential:
    """Split timm's normalization with activation into torch's two."""
    with torch.no_grad():
        norm = nn.BatchNorm2d(module.num_features, eps=module.eps, momentum=module.momentum)
        norm.load_state_dict(module.state_dict())
    return nn.Sequential(norm, module.act).eval()
