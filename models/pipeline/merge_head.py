"""Delivery: puts what was trained into the network, in layers that plain torch knows.

A head that is one linear layer becomes the network's own classifier. Others, and those of a shortened network, take
its place as a sequence of torch.nn layers; a checkpoint says which, so that a few lines of torch build it anew.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.features.sources import forward_plain_views
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from models.catalog.heads import Head
    from models.features.sources import FeatureSource
    from models.networks.surgery import FeatureNetwork
    from models.training.model import TrainableModel

Described = list[tuple[str, dict[str, Any]]]
"""Layers as classes of torch.nn with their arguments."""


class HeadUnsupported(SurgeryError):
    """No other layers can stand in place of the network's classifier."""

    code = "head_unsupported"


class Delivery:
    """Where the head of one network goes."""

    def __init__(self, feature_network: FeatureNetwork, head: Head, dropped: list[str]) -> None:
        """`dropped` are the paths of what was left out. Raises HeadUnsupported."""
        self.network, self.feature_network, self.dropped = feature_network.network, feature_network, dropped
        self.is_own = head.kind in ("linear", "keep") and not dropped
        """Whether the head becomes the network's own classifier."""
        self._path = "" if self.is_own else self._place()

    def put(self, layers: nn.Sequential) -> None:
        """Have the network end in these layers, which take its features as they come."""
        if self.is_own:
            (linear,) = layers
            assert isinstance(linear, nn.Linear)
            self.feature_network.classifier.set_weights(linear.weight.detach(), linear.bias.detach())
        else:
            self.network.set_submodule(self._path, _flattened(copy.deepcopy(layers)).eval())

    def replaced(self) -> dict[str, Described]:
        """What stands where in the network in place of timm's own modules, by path; nothing where all is its own."""
        if self.is_own:
            return {}
        head = self.network.get_submodule(self._path)
        return {**{path: [("Identity", {})] for path in self.dropped}, self._path: described(head)}

    def _place(self) -> str:
        """The path of the classifier, where other layers can take its place."""
        last = self.feature_network.classifier.layers[0].module
        path: str = next(path for path, module in self.network.named_modules() if module is last)
        if self._takes_others(path):
            return path
        cure = "drop_stages to 0" if self.dropped else "head to linear"
        raise HeadUnsupported(
            f"No other layers can take the place of this backbone's classifier: set {cure}, or choose another backbone."
        )

    @torch.no_grad()
    def _takes_others(self, path: str) -> bool:
        """Whether the network says what layers at this path say; tried with some that are not linear."""
        own = self.network.get_submodule(path)
        layers = nn.LayerNorm(self.feature_network.num_features, elementwise_affine=False)
        meant = layers(self.feature_network.trunk(self.feature_network.sample_images))
        self.network.set_submodule(path, _flattened([layers]))
        try:
            said = self.network(self.feature_network.sample_images)
        except Exception:  # each architecture has its own words for it
            return False
        finally:
            self.network.set_submodule(path, own)
        return said.shape == meant.shape and torch.allclose(said, meant, rtol=1e-4, atol=1e-4, equal_nan=True)


def plain(model: TrainableModel) -> nn.Sequential:
    """The head as layers that take the features as they come: the standardization is theirs, dropout is left out."""
    standardize = model.standardize.to(torch.device("cpu"))
    layers = [_plain(module) for module in model.head if not isinstance(module, nn.Dropout)]
    first = layers[0]
    if isinstance(first, nn.Linear):
        weight, bias = standardize.fold(first)
        first.load_state_dict({"weight": weight, "bias": bias})
        return nn.Sequential(*layers).eval()
    scaling = nn.BatchNorm1d(len(standardize.mean), eps=0.0, affine=False)
    statistics = {"running_mean": standardize.mean, "running_var": standardize.deviation**2}
    scaling.load_state_dict({**scaling.state_dict(), **statistics})
    return nn.Sequential(scaling, *layers).eval()


def described(layers: nn.Module) -> Described:
    """Layers as classes of torch.nn with their arguments, which torch keeps as attributes of the same names."""
    return [(type(layer).__name__, _arguments(layer)) for layer in layers.children()]


def delivered_logits(
    model: TrainableModel, layers: nn.Sequential, source: FeatureSource, images: np.ndarray
) -> np.ndarray:
    """What the delivered network says about the plain views of images, (n, C)."""
    model.eval()
    with torch.no_grad():
        parts = [layers(batch.cpu()) for batch in forward_plain_views(model.top, source, images)]
    logits: np.ndarray = torch.cat(parts).numpy()
    return logits


def _flattened(layers: Iterable[nn.Module]) -> nn.Sequential:
    """The same layers for a network that gives its features as an image of one pixel."""
    return nn.Sequential(nn.Flatten(), *layers)


def _plain(module: nn.Module) -> nn.Module:
    """A copy on the processor; a weight that is computed from others is one of its own."""
    if not isinstance(module, nn.Linear):
        return copy.deepcopy(module).cpu()
    linear = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    state = {"weight": module.weight.detach()}
    linear.load_state_dict(state if module.bias is None else {**state, "bias": module.bias.detach()})
    return linear


def _arguments(layer: nn.Module) -> dict[str, Any]:
    names = [name for name in getattr(layer, "__constants__", ()) if name != "inplace"]
    arguments = {name: getattr(layer, name) for name in names}
    return {**arguments, "bias": layer.bias is not None} if isinstance(layer, nn.Linear) else arguments
