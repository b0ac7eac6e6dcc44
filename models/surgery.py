"""Surgery on networks: finds where a network can be cut, parts it there, and puts a new head on.

A network is traced into a graph (torch.fx). A *cut* is a value through which everything flows: at some place in the
order of the graph it alone is still needed by what follows. Values that do not depend on the picture (parameters,
constants) do not count; both parts get their own. The trunk computes the cut from pictures, the top computes the
output from the cut, with the very operations of the whole network: top(trunk(x)) equals network(x) to the bit.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


TimmNetwork = Any
"""An nn.Module with timm's forward_features, forward_head, get_classifier and reset_classifier."""


class SurgeryError(Exception):
    """A network that cannot be operated on as asked."""


class Untraceable(SurgeryError):
    """The network's way depends on its input, so that it has no graph."""


class ClassifierUnsupported(SurgeryError):
    """The network does not end in one linear layer on one vector a picture."""


class InputSizeUnsupported(SurgeryError):
    """The network does not take pictures of this size."""


class Frozen(nn.Module):
    """A network that stays in evaluation mode whatever mode what holds it is in: its BatchNorm never moves."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Change nothing."""
        return self

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the network gives."""
        output: torch.Tensor = self.network(pictures)
        return output


@dataclass(frozen=True)
class Traced:
    """A network's graph, with the path of modules in which each value arises."""

    network: nn.Module
    graph: fx.Graph
    paths: Mapping[fx.Node, str]

    @classmethod
    def of(cls, network: nn.Module) -> Traced:
        """Trace the network; raises Untraceable."""
        tracer = NodePathTracer(
            autowrap_modules=(math, torchvision.ops),
            autowrap_functions=tuple(f for f in get_notrace_functions() if callable(f)),
            leaf_modules=get_notrace_modules(),
        )
        try:
            graph = tracer.trace(network)
        except Exception as error:  # whatever the network's own code raises when it meets a proxy
            raise Untraceable(f"The network cannot be traced: {error}") from error
        return cls(network, graph, tracer.node_to_qualname)

    def cuts(self) -> list[fx.Node]:
        """Every value through which everything flows, in the order of the graph; the input and output are none."""
        nodes = list(self.graph.nodes)
        flowing = _depends_on(next(node for node in nodes if node.op == "placeholder"))
        place = {node: index for index, node in enumerate(nodes)}
        last_use = {node: max((place[user] for user in node.users), default=-1) for node in flowing}
        found: dict[fx.Node, None] = {}
        alive: set[fx.Node] = set()
        for index, node in enumerate(nodes[:-1]):
            if node in flowing and last_use[node] > index:
                alive.add(node)
            alive = {value for value in alive if last_use[value] > index}
            if len(alive) == 1:
                found[next(iter(alive))] = None
        return [node for node in found if node.op != "placeholder"]

    def below(self, cut: fx.Node) -> set[fx.Node]:
        """The cut and all that it is computed from."""
        return {cut, *_ancestors(cut)}

    def part(self, cut: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
        """(trunk, top) at one of `cuts()`; their parameters are the network's own, under its own names."""
        trunk, top = fx.Graph(), fx.Graph()
        below = self.below(cut)
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node in below:
                copies[node] = trunk.node_copy(node, copies.__getitem__)
        trunk.output(copies[cut])
        copies = {cut: top.placeholder("features")}
        needed = _ancestors(_output(self.graph), stop=cut)
        for node in self.graph.nodes:
            if node in needed and node is not cut:
                copies[node] = top.node_copy(node, copies.__getitem__)
        top.output(fx.map_arg(_output(self.graph).args[0], copies.__getitem__))
        return fx.GraphModule(self.network, trunk), fx.GraphModule(self.network, top)


def _output(graph: fx.Graph) -> fx.Node:
    output: fx.Node = next(iter(reversed(graph.nodes)))
    return output


def _depends_on(source: fx.Node) -> set[fx.Node]:
    """`source` and all that is computed from it."""
    found = {source}
    for node in source.graph.nodes:
        if any(parent in found for parent in node.all_input_nodes):
            found.add(node)
    return found


def _ancestors(node: fx.Node, stop: fx.Node | None = None) -> set[fx.Node]:
    """All that `node` is computed from, not looking beyond `stop`."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for parent in waiting.pop().all_input_nodes:
            if parent not in found:
                found.add(parent)
                if parent is not stop:
                    waiting.append(parent)
    return found


@dataclass(frozen=True)
class Pooled:
    """A network cut before its classifier: one vector of features for each picture."""

    trunk: Frozen
    """(B, 3, H, W) → (B, num_features)."""
    cut: str
    num_features: int
    digest: str
    """SHA-256, in hex, of all that the features depend on beside the picture: the trunk's operations and weights."""


class _BeforeClassifier(nn.Module):
    """An untraceable network's own way to the input of its classifier."""

    def __init__(self, network: TimmNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.forward_head(self.network.forward_features(pictures), pre_logits=True)
        return features


def pooled(network: TimmNetwork, input_size: tuple[int, int, int], identity: Mapping[str, Any]) -> Pooled:
    """Cut the network before its classifier, which a later `replace_classifier` renews.

    Args:
        network: any timm network; one without a classifier is given one.
        input_size: (3, H, W) of the pictures to come.
        identity: what beside the weights names the network (architecture and arguments); part of the digest.

    Raises: InputSizeUnsupported, ClassifierUnsupported.
    """
    network.eval()
    if network.num_classes == 0:
        network.reset_classifier(1)
    name, classifier = _classifier(network)
    pictures = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        try:
            expected = network(pictures)
        except Exception as error:  # each architecture has its own words for it
            size = "x".join(map(str, input_size[1:]))
            raise InputSizeUnsupported(
                f"This backbone does not take pictures of {size} pixels ({error}). Leave image_size out of the recipe."
            ) from error
        trunk, cut = _trunk(network, name)
        features = Frozen(nn.Sequential(trunk, nn.Flatten()))
        _check(features(pictures), classifier, expected)
    state = {key: value for key, value in trunk.state_dict().items() if f".{name}." not in f".{key}"}
    digest = state_digest(state, {**identity, "cut": cut, "nodes": _operations(trunk)})
    return Pooled(features, cut, _inputs(classifier), digest)


def replace_classifier(network: TimmNetwork, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give the network a classifier with weight (C, num_features) and bias (C,)."""
    network.reset_classifier(len(bias))
    _, classifier = _classifier(network)
    with torch.no_grad():
        classifier.weight.copy_(weight.reshape(classifier.weight.shape))
        assert classifier.bias is not None
        classifier.bias.copy_(bias)


def state_digest(state: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of tensors with their names, types and shapes, and of what is said `about` them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _classifier(network: TimmNetwork) -> tuple[str, nn.Linear | nn.Conv2d]:
    classifier = network.get_classifier()
    linear = isinstance(classifier, nn.Linear)
    point = isinstance(classifier, nn.Conv2d) and classifier.kernel_size == (1, 1)
    if not (linear or point) or classifier.bias is None:
        raise ClassifierUnsupported(
            "This backbone does not end in one linear layer with a bias; choose another. "
            "Distilled ones, with two classifiers, have a sibling without distillation."
        )
    return next(name for name, module in network.named_modules() if module is classifier), classifier


def _inputs(classifier: nn.Linear | nn.Conv2d) -> int:
    return classifier.in_features if isinstance(classifier, nn.Linear) else classifier.in_channels


def _trunk(network: TimmNetwork, classifier: str) -> tuple[nn.Module, str]:
    try:
        traced = Traced.of(network)
    except Untraceable:
        return _BeforeClassifier(network), "forward_head"
    calls = [node for node in traced.graph.nodes if node.op == "call_module" and node.target == classifier]
    value = calls[0].args[0] if len(calls) == 1 else None
    if not isinstance(value, fx.Node) or value not in traced.cuts():
        return _BeforeClassifier(network), "forward_head"
    trunk, _ = traced.part(value)
    return trunk, traced.paths[value]


def _check(features: torch.Tensor, classifier: nn.Linear | nn.Conv2d, expected: torch.Tensor) -> None:
    weight = classifier.weight.flatten(1)
    fits = features.shape[1:] == weight.shape[1:]
    if not fits or not torch.allclose(nn.functional.linear(features, weight, classifier.bias), expected, atol=1e-4):
        raise ClassifierUnsupported(
            "This backbone's output is more than a linear layer on one vector a picture; choose another."
        )


def _operations(trunk: nn.Module) -> Iterable[str]:
    return [node.format_node() or "" for node in trunk.graph.nodes] if isinstance(trunk, fx.GraphModule) else []
