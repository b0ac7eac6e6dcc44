"""Layers of torch.nn that stand in place of a network's own, as data: {path: [(class, arguments), …]}.

A checkpoint lists them, so that a few lines of torch build its network anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from models.networks.graph_copy import GraphError
from models.networks.graph_file import build_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.networks.types import TimmNetwork

LayerList = list[tuple[str, dict[str, Any]]]
"""Layers as classes of torch.nn with their arguments."""


def describe_layers(layers: nn.Module) -> LayerList:
    """Describe layers as classes of torch.nn with their arguments, which are attributes of the same names."""
    if isinstance(layers, nn.Identity):
        return [("Identity", {})]
    return [(type(layer).__name__, _arguments(layer)) for layer in layers.children()]


def build_layers(layers: LayerList) -> nn.Module:
    """Build described layers; raises GraphError, and torch's own errors."""
    if layers == [("Identity", {})]:
        return nn.Identity()
    return nn.Sequential(
        *(nn.Sequential() if kind == "Sequential" else build_module(kind, args) for kind, args in layers)
    )


def _build(kind: str, arguments: dict[str, Any]) -> nn.Module:
    return nn.Sequential() if kind == "Sequential" else build_module(kind, arguments)  # others are put in its place


def put_layers(network: TimmNetwork, replaced: Mapping[str, LayerList]) -> None:
    """Put described layers in the places of a network's own, in order; raises GraphError, and torch's own errors."""
    for path, layers in replaced.items():
        if path not in dict(network.named_modules()):
            raise GraphError(f"the network has no module {path!r:.100}")
        network.set_submodule(path, build_layers(layers))
    if replaced:
        network.replaced = tuple(replaced)  # type: ignore[attr-defined]  # any module takes attributes


def parse_replaced(given: Any) -> dict[str, LayerList]:
    """Parse described layers from JSON; raises TypeError, ValueError or AttributeError."""
    return {str(path): [(str(kind), dict(args)) for kind, args in layers] for path, layers in (given or {}).items()}


def _arguments(layer: nn.Module) -> dict[str, Any]:
    names = [name for name in getattr(layer, "__constants__", ()) if name != "inplace"]
    arguments = {name: getattr(layer, name) for name in names}
    return {**arguments, "bias": layer.bias is not None} if isinstance(layer, nn.Linear) else arguments
