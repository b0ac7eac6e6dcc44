"""Run an imported network in float32, as it is used, and in float64, to measure its own rounding.

Rounding is measured, not guessed: float32's error depends on a network's depth, width and weights, so one tolerance
for all would pass wrong networks and refuse right ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import fx, nn

from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.networks.graph_network import GraphNetwork

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
ROUNDED_BATCH = 8
ROUNDED_STEPS = 255
FUSED = (
    nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU,
)  # fmt: skip
"""Layers that quantized runtimes compute together with the one before, which is then not rounded."""
FUSED_FUNCTIONS = (torch.clamp, torch.relu, nn.functional.relu, torch.Tensor.clamp)
NARROWING = (torch.Tensor.float, torch.Tensor.half)
EXACT_BATCH = 4
"""Images in a batch in float64, which takes twice the memory."""


@torch.inference_mode()
def run(
    network: nn.Module,
    images: np.ndarray,
    batch: int,
    heartbeat: Callable[[], None],
    dtype: torch.dtype = torch.float32,
) -> np.ndarray:
    """Compute a network's outputs (B, C) in batches, as float64 of what it computes in `dtype`."""
    outputs = []
    for start in range(0, len(images), batch):
        heartbeat()
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(dtype)
        outputs.append(network(part).double().flatten(1).numpy())
    return np.concatenate(outputs)


def run_in_float32(network: nn.Module, images: np.ndarray, heartbeat: Callable[[], None]) -> list[np.ndarray]:
    """Compute the outputs in the orders of summation that are at hand: image by image, by 3, and channels last."""
    outputs = [run(network, images, batch, heartbeat) for batch in (1, 3)]
    last = _ChannelsLast(network)
    return [*outputs, run(last, images, 3, heartbeat)]


@torch.inference_mode()
def run_rounded(
    network: GraphNetwork, images: np.ndarray, bits: Literal[8, 16], heartbeat: Callable[[], None]
) -> np.ndarray:
    """Compute the outputs with every activation rounded: to float16, or to 256 values over its range in a batch."""
    interpreter = _Rounder(network, network.graph, _round_to_256 if bits == 8 else _round_to_float16)
    outputs = []
    for start in range(0, len(images), ROUNDED_BATCH):
        heartbeat()
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + ROUNDED_BATCH]))
        outputs.append(interpreter.run(part).double().flatten(1).numpy())
    return np.concatenate(outputs)


def _round_to_256(value: torch.Tensor) -> torch.Tensor:
    least, most = min(0.0, float(value.min())), max(0.0, float(value.max()))
    step = (most - least) / ROUNDED_STEPS
    return value if step == 0.0 else ((value - least) / step).round() * step + least


def _round_to_float16(value: torch.Tensor) -> torch.Tensor:
    return value.half().to(value.dtype)


def run_in_float64(network: GraphNetwork, images: np.ndarray, heartbeat: Callable[[], None]) -> np.ndarray:
    """Compute the outputs in float64, from the same float32 weights; the network is as before after it."""
    module = as_module(network)
    original = {name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if tensor.dtype in FLOATS}
    values = {name: tensor.data for name, tensor in original.items()}
    graph = _widen(network.graph)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)  # of tensors that the graph makes itself
        for tensor in original.values():
            tensor.data = tensor.data.double()
        return run(_Exact(module, graph), images, EXACT_BATCH, heartbeat, torch.float64)
    finally:
        torch.set_default_dtype(default)
        for name, tensor in original.items():
            tensor.data = values[name]


class _Rounder(fx.Interpreter):
    """Runs a graph with its activations rounded, but for those that a following layer is fused with."""

    def __init__(self, network: GraphNetwork, graph: fx.Graph, round: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(network, graph=graph)
        self.round = round

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        is_activation = n.op in ("call_module", "call_function") and isinstance(value, torch.Tensor) and value.ndim > 1
        if not is_activation or not value.is_floating_point() or self._is_fused(n):
            return value
        return self.round(value)

    def _is_fused(self, n: fx.Node) -> bool:
        if len(n.users) != 1:
            return False
        (user,) = n.users
        if user.op == "call_module":
            return isinstance(self.fetch_attr(str(user.target)), FUSED)
        return user.op == "call_function" and user.target in FUSED_FUNCTIONS


class _ChannelsLast(nn.Module):
    """A network on images whose channels lie side by side in memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return output


class _Exact(nn.Module):
    """A graph with the modules and tensors of a network."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        self.network = network
        self.graph = graph

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = fx.Interpreter(self.network, graph=self.graph).run(images)
        return output


def _widen(graph: fx.Graph) -> fx.Graph:
    """Copy a graph, with every type of floating-point numbers that it names replaced by float64."""
    widened = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = widened.node_copy(node, copies.__getitem__)
        if node.target in NARROWING:
            copies[node].target = torch.Tensor.double
        copies[node].args = _replace_types(copies[node].args)
        copies[node].kwargs = _replace_types(copies[node].kwargs)
    return widened


def _replace_types(argument: Any) -> Any:
    if isinstance(argument, tuple | list):
        return type(argument)(_replace_types(one) for one in argument)
    if isinstance(argument, dict):
        return {name: _replace_types(one) for name, one in argument.items()}
    return torch.float64 if isinstance(argument, torch.dtype) and argument in FLOATS else argument
