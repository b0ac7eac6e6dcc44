"""Merge a trained head into its network, as layers that plain torch knows.

A head that is one linear layer becomes the network's own classifier. Others, and those of a shortened network, take
its place as a sequence of torch.nn layers; a checkpoint lists them, so that a few lines of torch build it anew.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.features.sources import forward_plain_views
from models.networks.graph_code import write_source
from models.networks.graph_file import describe
from models.networks.graph_network import GraphNetwork
from models.networks.replaced_layers import describe_layers
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from models.catalog.heads import Head
    from models.features.sources import FeatureSource
    from models.networks.feature_network import FeatureNetwork
    from models.networks.replaced_layers import LayerList
    from models.networks.types import TimmNetwork
    from models.training.trainable_model import TrainableModel


class HeadUnsupported(SurgeryError):
    """No other layers can stand in place of the network's classifier."""

    code = "head_unsupported"


@dataclass(frozen=True)
class HeadSlot:
    """The place in a network that a trained head is merged into."""

    feature_network: FeatureNetwork
    dropped: list[str]
    """Paths of the stages that were left out."""
    path: str | None
    """Path of the module that the head replaces; None if it becomes the network's own classifier."""

    @property
    def network(self) -> TimmNetwork:
        """The whole network."""
        return self.feature_network.network


def is_own_classifier(head: str, *, is_shortened: bool) -> bool:
    """Tell whether a head of this kind becomes the network's own classifier, where stages were dropped or not."""
    return head in ("linear", "keep") and not is_shortened


def find_head_slot(feature_network: FeatureNetwork, head: Head, dropped: list[str]) -> HeadSlot:
    """Find where a head can be merged into a network without its `dropped` stages. Raises HeadUnsupported."""
    network = feature_network.network
    if is_own_classifier(head.kind, is_shortened=bool(dropped)):
        return HeadSlot(feature_network, dropped, None)
    last = feature_network.classifier.layers[0].module
    path: str = next(path for path, module in network.named_modules() if module is last)
    if not _can_replace(feature_network, path):
        cure = "drop_stages to 0" if dropped else "head to linear"
        raise HeadUnsupported(
            f"No other layers can take the place of this backbone's classifier: set {cure}, or choose another backbone."
        )
    return HeadSlot(feature_network, dropped, path)


def merge_head(slot: HeadSlot, layers: nn.Sequential) -> None:
    """Replace the network's classifier by these layers, which read unstandardized features."""
    if slot.path is not None:
        slot.network.set_submodule(slot.path, _flattened(copy.deepcopy(layers)).eval())
        return
    linear = layers[0].state_dict()
    slot.feature_network.classifier.set_weights(linear["weight"], linear["bias"])


def describe_network(slot: HeadSlot) -> tuple[TimmNetwork, dict[str, Any]]:
    """Describe how a merged network is built, beside its architecture: a graph and its source, or what is replaced.

    Returns the network whose tensors have the names of that description, too.
    """
    if isinstance(slot.network, GraphNetwork):
        simplified = slot.network.simplify()
        description = describe(simplified)
        return simplified, {"graph": description, "python": write_source(description)}
    replaced = describe_replaced(slot)
    return slot.network, {"replaced": replaced} if replaced else {}


def describe_replaced(slot: HeadSlot) -> dict[str, LayerList]:
    """Describe the layers that stand in place of the library's own modules, by path; empty where all are its own.

    They are in the order in which they are put there: some lie inside of others.
    """
    paths = [*getattr(slot.network, "replaced", ()), *([] if slot.path is None else [slot.path])]
    described = {path: describe_layers(slot.network.get_submodule(path)) for path in paths}
    return {**{path: [("Identity", {})] for path in slot.dropped}, **described}


def to_plain_layers(model: TrainableModel, temperature: float = 1.0) -> nn.Sequential:
    """Convert a head to layers of torch.nn for unstandardized features: standardization folded in, no dropout.

    The logits are divided by the temperature, by dividing the weights and biases of the output layer.
    """
    standardize = model.standardize.to(torch.device("cpu"))
    layers = [_to_plain(layer) for layer in model.head.layers if not isinstance(layer, nn.Dropout)]
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.div_(temperature)
    first = layers[0]
    if isinstance(first, nn.Linear):
        weight, bias = standardize.fold(first)
        first.load_state_dict({"weight": weight, "bias": bias})
        return nn.Sequential(*layers).eval()
    scaling = nn.BatchNorm1d(len(standardize.mean), eps=0.0, affine=False)
    statistics = {"running_mean": standardize.mean, "running_var": standardize.deviation**2}
    scaling.load_state_dict({**scaling.state_dict(), **statistics})
    return nn.Sequential(scaling, *layers).eval()


def compute_logits(
    model: TrainableModel, layers: nn.Sequential, source: FeatureSource, images: np.ndarray
) -> np.ndarray:
    """Compute the logits of the model's top and plain layers on it for the plain views of images, (n, C)."""
    model.eval()
    with torch.no_grad():
        batches = [layers(batch.cpu()) for batch in forward_plain_views(model.top, source, images)]
    logits: np.ndarray = torch.cat(batches).numpy()
    return logits


@torch.no_grad()
def _can_replace(feature_network: FeatureNetwork, path: str) -> bool:
    """Test if layers at this path give the network's output, by trying some that are not linear."""
    network, images = feature_network.network, feature_network.sample_images
    own = network.get_submodule(path)
    layers = nn.LayerNorm(feature_network.num_features, elementwise_affine=False)
    expected = layers(feature_network.trunk(images))
    network.set_submodule(path, _flattened([layers]))
    try:
        output = network(images)
    except Exception:  # each architecture has its own words for it
        return False
    finally:
        network.set_submodule(path, own)
    return output.shape == expected.shape and torch.allclose(output, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def _flattened(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Wrap layers for a network whose features are an image of one pixel, (B, D, 1, 1)."""
    return nn.Sequential(nn.Flatten(), *layers)


def _to_plain(module: nn.Module) -> nn.Module:
    """Copy layers to the CPU, with parametrized weights as plain parameters."""
    if not isinstance(module, nn.Linear):
        return copy.deepcopy(module).cpu()
    linear = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    state = {"weight": module.weight.detach()}
    linear.load_state_dict(state if module.bias is None else {**state, "bias": module.bias.detach()})
    return linear
