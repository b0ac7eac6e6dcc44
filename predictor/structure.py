"""Structure of a checkpoint's network: which tensors its trunk has, and what lies above, head and trained stages.

The structure is found once, in a loaded network; other checkpoints of the same structure are then known by the list of
their tensors alone, and of them only what lies above is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from torch import nn

from models.catalog.cuts import Cut
from models.networks.cut_network import CutNetwork, cut_at
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_network import GraphNetwork
from models.networks.replaced_layers import build_layers, parse_replaced
from models.networks.tracing import SurgeryError
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.backbones.backbone import Backbone
    from models.networks.feature_network import FeatureNetwork
    from models.networks.types import TimmNetwork
    from predictor.checkpoints import StoredCheckpoint

CUT: TypeAdapter[Cut] = TypeAdapter(Cut)


@dataclass(frozen=True)
class OutputPart:
    """A linear layer of the network's own classifier: its path, the features that it reads, and its gain."""

    path: str
    features: slice
    gain: float


@dataclass(frozen=True)
class Structure:
    """Structure of a network above its trunk."""

    below: tuple[str, ...]
    """Names of the trunk's tensors, sorted."""
    num_features: int
    outputs: tuple[OutputPart, ...]
    """The network's own classifier, of which the head is made; unused where other layers are the head."""
    top: nn.Module | None
    """Trained stages, the value at the cut → (B, num_features), with the tensors of one checkpoint; None without."""
    top_names: Mapping[str, str]
    """By each tensor of the top that is no part of the trunk, its name in the file."""

    def list_own_names(self, checkpoint: StoredCheckpoint) -> list[str]:
        """List the tensors above the trunk, which each checkpoint has of its own."""
        if checkpoint.head_path is not None:
            head = [name for name in checkpoint.tensors if name.startswith(f"{checkpoint.head_path}.")]
        else:
            head = [f"{part.path}.{kind}" for part in self.outputs for kind in ("weight", "bias")]
        return list(dict.fromkeys([*head, *self.top_names.values()]))

    def build_head(self, checkpoint: StoredCheckpoint, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Build a head of its tensors: (B, num_features) → (B, C), as a plain linear layer if it is one."""
        if checkpoint.head_path is None:
            return self._build_linear(tensors)
        described = parse_replaced(checkpoint.parse("replaced"))[checkpoint.head_path]
        layers = build_layers(described)
        start = len(checkpoint.head_path) + 1
        layers.load_state_dict({name[start:]: value for name, value in tensors.items() if name[start - 1 :][:1] == "."})
        layers.eval().requires_grad_(False)
        modules = list(layers)  # type: ignore[call-overload]  # a Sequential
        is_linear = len(modules) == 2 and isinstance(modules[0], nn.Flatten) and isinstance(modules[1], nn.Linear)
        linear: nn.Module = modules[1] if is_linear and modules[1].bias is not None else layers
        return linear

    def _build_linear(self, tensors: Mapping[str, torch.Tensor]) -> nn.Linear:
        """Add up the layers of a classifier, each times its gain, as one on all features."""
        classes = len(tensors[f"{self.outputs[0].path}.bias"])
        matrix, offset = torch.zeros(classes, self.num_features), torch.zeros(classes)
        for part in self.outputs:
            weight, bias = (tensors[f"{part.path}.{kind}"].float() for kind in ("weight", "bias"))
            matrix[:, part.features] += part.gain * weight.reshape(classes, -1)
            offset += part.gain * bias
        linear = nn.Linear(self.num_features, classes, device="meta")
        linear.load_state_dict({"weight": matrix, "bias": offset}, assign=True)
        linear.requires_grad_(False)
        return linear


@torch.no_grad()
def find_structure(backbone: Backbone, checkpoint: StoredCheckpoint) -> tuple[Structure, CutNetwork]:
    """Find the structure of a loaded checkpoint, and cut its network there; raises SurgeryError."""
    network, size = backbone.network, backbone.preprocessing.input_size
    names = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
    identity: dict[str, Any] = {"architecture": backbone.architecture, "model_args": backbone.model_args}
    dropped = _remove_head(network, checkpoint.head_path, size)
    if dropped:
        identity["dropped"] = dropped
    feature_network = cut_before_classifier(network, size, identity)
    cut_network = cut_at(feature_network, CUT.validate_python(checkpoint.recipe.get("cut") or {"kind": "all"}))
    if cut_network.trunk is None:  # nothing is frozen: nothing is shared, and all of the network is the trunk
        cut_network = CutNetwork.from_feature_network(feature_network)
    cut_network.set_modes(0, norms_train=False)
    assert cut_network.trunk is not None
    shared = {id(value) for value in cut_network.trunk.state_dict(keep_vars=True).values()}
    top = cut_network.top if cut_network.stages else None
    above = {} if top is None else top.state_dict(keep_vars=True)
    structure = Structure(
        below=tuple(sorted(names[key] for key in shared if key in names)),
        num_features=feature_network.num_features,
        outputs=_find_outputs(feature_network),
        top=top,
        top_names={key: names[id(value)] for key, value in above.items() if id(value) not in shared},
    )
    return structure, cut_network


def _remove_head(network: TimmNetwork, path: str | None, size: tuple[int, int, int]) -> list[str]:
    """Put a plain classifier in place of the head's layers; returns the paths of dropped stages."""
    if isinstance(network, GraphNetwork):
        return []
    replaced = [other for other in getattr(network, "replaced", ()) if other != path]
    dropped = [other for other in replaced if isinstance(network.get_submodule(other), nn.Identity)]
    if path is not None:
        _put_classifier(network, path, size)
        # As in training, where the network was cut before the head took its place.
        network.replaced = tuple(other for other in replaced if other not in dropped)  # type: ignore[attr-defined]
    return dropped


def _put_classifier(network: TimmNetwork, path: str, size: tuple[int, int, int]) -> None:
    """Put one linear layer, or a pointwise convolution, in place of the layers at a path; raises SurgeryError."""
    first = next(iter(network.get_submodule(path).state_dict().values()))
    features, images = first.shape[-1], torch.zeros(2, *size)
    for classifier in (nn.Linear(features, 1), nn.Conv2d(features, 1, 1)):
        network.set_submodule(path, classifier.eval().requires_grad_(False))
        try:
            if as_module(network)(images).shape == (2, 1):
                return
        except Exception:  # noqa: S112  # each architecture has its own words for a layer that does not fit
            continue
    raise SurgeryError(f"the layers at {path} are not its classifier")


def _find_outputs(feature_network: FeatureNetwork) -> tuple[OutputPart, ...]:
    paths = {id(module): path for path, module in as_module(feature_network.network).named_modules()}
    return tuple(
        OutputPart(paths[id(layer.module)], layer.features, layer.gain)
        for layer in feature_network.classifier.layers
        if layer.features is not None
    )
