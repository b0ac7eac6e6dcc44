"""Surgery on networks: cuts one before its classifier, and gives it another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.networks.classifier import Classifier, can_be_last, width
from models.networks.tracing import SurgeryError, Traced, Untraceable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.networks.classifier import Linear
    from models.networks.types import TimmNetwork


class ClassifierUnsupported(SurgeryError):
    """The network's logits are more than linear layers on vectors of the image."""

    code = "classifier_unsupported"


class InputSizeUnsupported(SurgeryError):
    """The network does not take images of this size."""

    code = "input_size_unsupported"


class Frozen(nn.Module):
    """A network that stays in evaluation mode whatever mode what holds it is in: its BatchNorm never moves."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Change nothing."""
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the network gives."""
        output: torch.Tensor = self.network(images)
        return output


class BeforeClassifier(nn.Module):
    """An untraceable network's own way to the input of its classifier."""

    def __init__(self, network: TimmNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features of images."""
        features: torch.Tensor = self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        return features


NOT_LINEAR = "The logits of this backbone are more than linear layers on vectors of an image; choose another backbone."


@dataclass(frozen=True)
class FeatureNetwork:
    """A network cut before its classifier: the vectors that the classifier is given, one after another."""

    trunk: Frozen
    """(B, 3, H, W) → (B, num_features)."""
    cut: str
    num_features: int
    digest: str
    """SHA-256, in hex, of all that the features depend on beside the image: the trunk's operations and weights."""
    classifier: Classifier
    """What gives the network a new classifier on these features."""
    end: NetworkTail
    """How it was cut."""
    tried: torch.Tensor
    """(2, 3, H, W), random images that it was tried with."""


@torch.no_grad()
def cut_before_classifier(
    network: TimmNetwork, input_size: tuple[int, int, int], identity: Mapping[str, Any]
) -> FeatureNetwork:
    """Cut the network before its classifier, which loses its weights.

    Args:
        network: any timm network; one without a classifier is given one.
        input_size: (3, H, W) of the images to come.
        identity: what beside the weights names the network (architecture and arguments); part of the digest.

    Raises: InputSizeUnsupported, ClassifierUnsupported.
    """
    network.eval()
    if not hasattr(network, "reset_classifier"):
        raise ClassifierUnsupported("This backbone has no classifier and takes none; choose another.")
    if network.num_classes == 0:
        network.reset_classifier(1)
    images = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    try:
        return _pooled(network, images, identity)
    except Exception:
        _require(network, images)
        raise


def _require(network: TimmNetwork, images: torch.Tensor) -> None:
    """Raises InputSizeUnsupported where the network itself cannot be run."""
    try:
        network(images)
    except Exception as error:  # each architecture has its own words for it
        size = "x".join(map(str, images.shape[2:]))
        raise InputSizeUnsupported(
            f"This backbone does not take images of {size} pixels ({error}). Leave image_size out of the recipe."
        ) from error


def _pooled(network: TimmNetwork, images: torch.Tensor, identity: Mapping[str, Any]) -> FeatureNetwork:
    try:
        end = NetworkTail.traced(network, images)
    except Untraceable:
        end = NetworkTail.untraced(network)
    trunk = Frozen(nn.Sequential(end.trunk, Joined()))
    classifier = Classifier.measured(network, end.given, images[:1])
    features = trunk(images)
    _check(network, classifier, features, images)
    digest = end.digest(end.trunk, end.cut, identity)
    return FeatureNetwork(trunk, end.cut, features.shape[1], digest, classifier, end, images)


def state_digest(state: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of tensors with their names, types and shapes, and of what is said `about` them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class NetworkTail:
    """The end of a network as it comes: its last layers, and the way to what they are given."""

    trunk: nn.Module
    """Gives the vectors that the last layers are given: a tensor, or a tuple of several."""
    cut: str
    given: Mapping[Linear, slice | None]
    """The features that each last layer is given: see LastLayer."""
    graph: Traced | None = None
    """The network's graph, where it has one."""
    values: tuple[fx.Node, ...] = ()
    """Those vectors in the graph."""

    @classmethod
    def traced(cls, network: TimmNetwork, images: torch.Tensor) -> NetworkTail:
        """That of the network's graph; raises Untraceable, ClassifierUnsupported."""
        traced = Traced.of(network).settled(images[:1])
        calls = traced.last_layers()
        modules = [(traced.module(call), call.all_input_nodes[0]) for call in calls]
        layers = {module: value for module, value in modules if can_be_last(module)}
        if not layers or len(layers) < len(calls):
            raise ClassifierUnsupported(NOT_LINEAR)
        places: dict[fx.Node, slice] = {}
        end = 0
        for layer, value in layers.items():
            numbers = traced.numbers(value)
            if value not in places and numbers == width(layer):
                places[value] = slice(end, end := end + numbers)
        if not places and len(calls) == 1:  # as CLIP's attention, which pools the logits of all places
            (layer,) = layers
            rest = traced.without(calls[0])
            cut, everything = traced.paths[calls[0]], slice(0, width(layer))
            return cls(rest.trunk(rest.result), cut, {layer: everything}, rest, (rest.result,))
        if not places:
            raise ClassifierUnsupported(NOT_LINEAR)
        given = {layer: places.get(value) for layer, value in layers.items()}
        name = " + ".join(traced.paths[value] for value in places)
        return cls(traced.trunk(*places), name, given, traced, tuple(places))

    @classmethod
    def untraced(cls, network: TimmNetwork) -> NetworkTail:
        """That of the network's own forward_head; raises ClassifierUnsupported."""
        classifier = network.get_classifier()
        if not can_be_last(classifier):
            raise ClassifierUnsupported(NOT_LINEAR)
        return cls(BeforeClassifier(network), "forward_head", {classifier: slice(0, width(classifier))})

    @cached_property
    def cuts(self) -> Mapping[str, fx.Node]:
        """The places where the network can be cut, in its order, up to what the last layers are given; by name."""
        if self.graph is None:
            return {}
        below = set.intersection(*(self.graph.below(value) for value in self.values))
        return {self.graph.paths[node]: node for node in self.graph.cuts() if node in below}

    def parted(self, cut: str) -> tuple[fx.GraphModule, fx.GraphModule]:
        """(images → the value at one of `cuts`, that value → what `trunk` gives)."""
        assert self.graph is not None
        return self.graph.trunk(self.cuts[cut]), self.graph.top(self.cuts[cut], *self.values)

    def used(self, cut: str) -> dict[str, nn.Parameter]:
        """The parameters that the value at one of `cuts` depends on, or all of the trunk; by names in the network."""
        if self.graph is None:
            return {name.removeprefix("network."): value for name, value in self.trunk.named_parameters()}
        values = (self.cuts[cut],) if cut in self.cuts else self.values
        return self.graph.parameters(self.graph.below(*values))

    def parameters(self) -> set[int]:
        """The identities of the last layers' parameters, which a new classifier replaces."""
        return {id(parameter) for layer in self.given for parameter in layer.parameters()}

    def digest(self, trunk: nn.Module, cut: str, identity: Mapping[str, Any]) -> str:
        """SHA-256, in hex, of a trunk's operations and weights; the last layers, which change, are left out."""
        replaced = self.parameters()
        state = {name: value for name, value in trunk.state_dict(keep_vars=True).items() if id(value) not in replaced}
        operations = trunk.graph.nodes if isinstance(trunk, fx.GraphModule) else ()
        nodes = [node.format_node() or "" for node in operations]
        return state_digest(state, {**identity, "cut": cut, "nodes": nodes})


class Joined(nn.Module):
    """Vectors of an image, one after another: (B, D1), (B, D2), … → (B, D1 + D2 + …)."""

    def forward(self, vectors: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Join them."""
        return torch.cat([vector.flatten(1) for vector in _each(vectors)], 1)


def _each(values: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return values if isinstance(values, tuple) else (values,)


def _check(network: nn.Module, classifier: Classifier, features: torch.Tensor, images: torch.Tensor) -> None:
    """Give the network a classifier of random weights, and see that it says what was meant."""
    random = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(2, features.shape[1], generator=random), torch.randn(2, generator=random)
    classifier.become(weight / features.shape[1] ** 0.5, bias)
    meant = nn.functional.linear(features, weight / features.shape[1] ** 0.5, bias)
    said = network(images)
    least = 1e-4 * meant.abs().max().clamp_min(1.0)
    is_kept = said.shape == meant.shape and bool((said - meant).abs().max() <= least)
    if not is_kept and meant.isfinite().all():  # broken weights are told of when images are computed
        raise ClassifierUnsupported(NOT_LINEAR)
