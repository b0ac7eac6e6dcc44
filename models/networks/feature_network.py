"""Cuts a network before its classifier, and gives it a new classifier.

Surgery returns a new network: a copy of the modules that shares the tensors of its argument, which stays as it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.networks.graph_network import GraphNetwork
from models.networks.graph_operations import describe_module
from models.networks.image_sizes import InputSizeUnsupported
from models.networks.output_layers import Classifier, can_be_output, in_features
from models.networks.tracing import SurgeryError, TracedNetwork, Untraceable, trace
from models.networks.types import HeadedNetwork, as_module
from models.runtime.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.networks.output_layers import LinearModule
    from models.networks.types import TimmNetwork


class ClassifierUnsupported(SurgeryError):
    """The network's logits are more than linear layers on vectors of the image."""

    code = "classifier_unsupported"


class FrozenNetwork(nn.Module):
    """A network without gradients that stays in evaluation mode, so that its BatchNorm statistics never change."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Ignore the mode of the enclosing module."""
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        output: torch.Tensor = self.network(images)
        return output


class PreLogits(nn.Module):
    """The input of the classifier, computed by timm's forward_features and forward_head; for untraceable networks."""

    network: HeadedNetwork

    def __init__(self, network: HeadedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, num_features)."""
        return self.network.forward_head(self.network.forward_features(images), pre_logits=True)


NOT_LINEAR = "The logits of this backbone are more than linear layers on vectors of an image; choose another backbone."


@dataclass(frozen=True)
class FeatureNetwork:
    """A network cut before its classifier: its features are the vectors that the classifier reads, concatenated."""

    network: TimmNetwork
    """The whole network, whose classifier is replaced by `classifier.set_weights`."""
    trunk: FrozenNetwork
    """(B, 3, H, W) → (B, num_features)."""
    cut: str
    num_features: int
    input_size: tuple[int, int, int]
    identity: Mapping[str, Any]
    """Architecture and arguments, which identify the network beside its weights; part of each digest."""
    digest: str
    """SHA-256, in hex, of everything that the features depend on beside the image: operations and weights."""
    classifier: Classifier
    tail: NetworkTail
    sample_images: torch.Tensor
    """(2, 3, H, W), the random images that the cut was tested with."""

    def compute_digest(self) -> str:
        """Compute the digest anew, of the weights and statistics that the trunk has now."""
        return self.tail.compute_digest(self.tail.trunk, self.cut, self.identity)


@torch.no_grad()
def cut_before_classifier(
    network: TimmNetwork, input_size: tuple[int, int, int], identity: Mapping[str, Any], *, is_plain: bool = False
) -> FeatureNetwork:
    """Cut a network before its classifier.

    Args:
        network: any network of timm; one without a classifier gets one. It stays as it is.
        input_size: (3, H, W) of the images.
        identity: architecture and arguments, which identify the network beside its weights; part of the digest.
        is_plain: trace it to operations of plain torch.

    Raises: InputSizeUnsupported, ClassifierUnsupported.
    """
    if not hasattr(network, "reset_classifier"):
        raise ClassifierUnsupported("This backbone has no classifier and takes none; choose another.")
    network = copy_modules(network).eval()
    if network.num_classes == 0:
        network.reset_classifier(1)
    images = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    try:
        return _cut(network, images, input_size, identity, is_plain)
    except Exception:
        _check_input_size(network, images)
        raise


def copy_modules(network: TimmNetwork) -> TimmNetwork:
    """Copy a network's modules; the copy shares all parameters and buffers."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())})


def _check_input_size(network: TimmNetwork, images: torch.Tensor) -> None:
    """Run the network on images of this size; raises InputSizeUnsupported."""
    try:
        network(images)
    except Exception as error:  # each architecture raises errors of its own
        size = "x".join(map(str, images.shape[2:]))
        reason = "two need more memory than there is" if is_out_of_memory(error) else error
        raise InputSizeUnsupported(
            f"This backbone does not take images of {size} pixels ({reason}). Leave image_size out of the recipe."
        ) from error


def _cut(
    network: TimmNetwork,
    images: torch.Tensor,
    input_size: tuple[int, int, int],
    identity: Mapping[str, Any],
    is_plain: bool,
) -> FeatureNetwork:
    try:
        tail = NetworkTail.from_trace(
            trace(as_module(network), input_size if is_plain else None).fold_sizes(images[:1])
        )
    except Untraceable:
        if isinstance(network, GraphNetwork):
            raise
        tail = NetworkTail.from_forward_head(network)
    trunk = FrozenNetwork(nn.Sequential(tail.trunk, ConcatenateVectors()))
    classifier = Classifier.from_layers(as_module(network), tail.layer_inputs, images[:1])
    features = trunk(images)
    _check_classifier(network, classifier, features, images)
    return FeatureNetwork(
        network=network,
        trunk=trunk,
        cut=tail.cut,
        num_features=features.shape[1],
        input_size=input_size,
        identity=identity,
        digest=tail.compute_digest(tail.trunk, tail.cut, identity),
        classifier=classifier,
        tail=tail,
        sample_images=images,
    )


def state_digest(state: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> str:
    """Compute the SHA-256, in hex, of named tensors with their types and shapes, and of the JSON of `about`."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class NetworkTail:
    """The output layers of a network, and the vectors that they read."""

    trunk: nn.Module
    """Network from images to the output layers' input: a tensor, or a tuple of several."""
    cut: str
    layer_inputs: Mapping[LinearModule, slice | None]
    """The features that each output layer reads: see OutputLayer."""
    traced: TracedNetwork | None = None
    """The network's graph, where it has one."""
    vectors: tuple[fx.Node, ...] = ()
    """Nodes of the graph whose values the output layers read."""

    @classmethod
    def from_trace(cls, traced: TracedNetwork) -> NetworkTail:
        """Find the output layers in a network's graph; raises ClassifierUnsupported."""
        calls = traced.find_output_layers()
        modules = [(traced.get_module(call), call.all_input_nodes[0]) for call in calls]
        layers = {module: value for module, value in modules if can_be_output(module)}
        if not layers or len(layers) < len(calls):
            raise ClassifierUnsupported(NOT_LINEAR)
        slices: dict[fx.Node, slice] = {}
        end = 0
        for layer, value in layers.items():
            numel = traced.numel(value)
            if value not in slices and numel == in_features(layer):
                slices[value] = slice(end, end := end + numel)
        if not slices and len(calls) == 1:  # CLIP's attention, for example, pools the logits of all patches
            (layer,) = layers
            rest = traced.bypass(calls[0])
            cut, everything = traced.paths[calls[0]], slice(0, in_features(layer))
            return cls(rest.build_trunk(rest.output), cut, {layer: everything}, rest, (rest.output,))
        if not slices:
            raise ClassifierUnsupported(NOT_LINEAR)
        layer_inputs = {layer: slices.get(value) for layer, value in layers.items()}
        name = " + ".join(traced.paths[value] for value in slices)
        return cls(traced.build_trunk(*slices), name, layer_inputs, traced, tuple(slices))

    @classmethod
    def from_forward_head(cls, network: TimmNetwork) -> NetworkTail:
        """Take timm's classifier and the input that forward_head gives it; raises ClassifierUnsupported."""
        classifier = network.get_classifier()
        if not can_be_output(classifier) or not isinstance(network, HeadedNetwork):
            raise ClassifierUnsupported(NOT_LINEAR)
        return cls(PreLogits(network), "forward_head", {classifier: slice(0, in_features(classifier))})

    @cached_property
    def cuts(self) -> Mapping[str, fx.Node]:
        """The values at which the network can be cut, in its order, up to the output layers' input; by name."""
        if self.traced is None:
            return {}
        below = set.intersection(*(self.traced.find_below(vector) for vector in self.vectors))
        return {self.traced.paths[node]: node for node in self.traced.find_cuts() if node in below}

    def build_parts(self, cut: str) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Build (images → the value at one of `cuts`, that value → the output layers' input)."""
        assert self.traced is not None
        return self.traced.build_trunk(self.cuts[cut]), self.traced.build_top(self.cuts[cut], *self.vectors)

    def collect_parameters(self, cut: str) -> dict[str, nn.Parameter]:
        """Collect the parameters below one of `cuts`, or else all of the trunk's, by their names in the network."""
        if self.traced is None:
            return {name.removeprefix("network."): value for name, value in self.trunk.named_parameters()}
        values = (self.cuts[cut],) if cut in self.cuts else self.vectors
        return self.traced.collect_parameters(self.traced.find_below(*values))

    def collect_output_parameters(self) -> set[int]:
        """Collect the ids of the parameters that the output layers have now; a new classifier replaces them."""
        return {id(parameter) for layer in self.layer_inputs for parameter in layer.parameters()}

    def compute_digest(self, trunk: nn.Module, cut: str, identity: Mapping[str, Any]) -> str:
        """Compute the SHA-256, in hex, of a trunk's operations and weights, without those of output layers."""
        replaced = self.collect_output_parameters()
        state = {name: value for name, value in trunk.state_dict(keep_vars=True).items() if id(value) not in replaced}
        operations = trunk.graph.nodes if isinstance(trunk, fx.GraphModule) else ()
        nodes = [node.format_node() or "" for node in operations]
        return state_digest(state, {**identity, "cut": cut, "nodes": nodes, **self._describe_modules(trunk)})

    def _describe_modules(self, trunk: nn.Module) -> dict[str, Any]:
        """Describe layers of the trunk that do not follow from the network's architecture."""
        if self.traced is None:
            return {}
        network, modules = self.traced.network, dict(trunk.named_modules())
        if not isinstance(network, GraphNetwork):
            replaced = tuple(f"{path}." for path in getattr(network, "replaced", ()))
            modules = {path: module for path, module in modules.items() if path.startswith(replaced)}
        described = {path: describe_module(module) for path, module in modules.items()}
        return {"modules": described} if described else {}


class ConcatenateVectors(nn.Module):
    """Concatenates the vectors of each image: (B, D1), (B, D2), … → (B, D1 + D2 + …)."""

    def forward(self, vectors: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Concatenate one or several vectors."""
        several = vectors if isinstance(vectors, tuple) else (vectors,)
        return torch.cat([vector.flatten(1) for vector in several], 1)


def _check_classifier(
    network: TimmNetwork, classifier: Classifier, features: torch.Tensor, images: torch.Tensor
) -> None:
    """Give the network a classifier of random weights, and compare its logits with those on the features."""
    random = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(2, features.shape[1], generator=random), torch.randn(2, generator=random)
    classifier.set_weights(weight / features.shape[1] ** 0.5, bias)
    expected = nn.functional.linear(features, weight / features.shape[1] ** 0.5, bias)
    logits = network(images)
    tolerance = 1e-4 * expected.abs().max().clamp_min(1.0)
    is_linear = logits.shape == expected.shape and bool((logits - expected).abs().max() <= tolerance)
    if not is_linear and expected.isfinite().all():  # broken weights are reported when features are computed
        raise ClassifierUnsupported(NOT_LINEAR)
