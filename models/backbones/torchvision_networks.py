"""Networks of torchvision, with the calls of timm's: architecture torchvision/NAME.

Modules keep torchvision's own names, so that tensors of either fit the other. Where a network does not end in a linear
layer with a bias, other layers take the place of its own; `replaced` lists them, as a checkpoint does.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torchvision import models

from models.backbones.state_dicts import add_counters, explain_difference, list_shapes, to_float32
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models.backbones.state_dicts import Shapes
    from models.networks.types import TimmNetwork

PREFIX = "torchvision/"
LINEAR = (nn.Linear, nn.Conv2d)
PRETRAINED_ARGUMENTS: dict[str, dict[str, Any]] = {
    # Both were trained on images that were scaled otherwise, and shift theirs; other heads are for training alone.
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "aux_logits": False, "init_weights": False},
}
"""Arguments by which torchvision builds a pretrained network, where they are not its defaults."""
AUXILIARY = re.compile(r"(aux1|aux2|AuxLogits)\.")
"""Names of weights of heads that only training uses."""
OLD_DENSE_LAYER = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)")
"""Names in files of DenseNets that are older than torchvision 0.3."""


class StateUnfit(Exception):
    """Weights do not fit an architecture: other names, or other shapes."""


class _ClassifierCalls:
    """The calls of timm's networks that have to do with the classifier, for a network of torchvision."""

    num_classes: int
    num_features: int
    classifier_path: str
    replaced: tuple[str, ...] = ()
    """Paths at which other layers stand than torchvision's own."""

    def get_classifier(self) -> nn.Module:
        """Get the module that gives the logits."""
        return cast("nn.Module", self).get_submodule(self.classifier_path)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one; by nothing if there are no classes."""
        device = next(cast("nn.Module", self).parameters()).device
        layer = nn.Identity() if num_classes == 0 else nn.Linear(self.num_features, num_classes, device=device)
        cast("nn.Module", self).set_submodule(self.classifier_path, layer)
        self.num_classes = num_classes


def list_names() -> list[str]:
    """List torchvision's image classifiers."""
    names: list[str] = models.list_models(module=models)
    return names


def is_known(architecture: str) -> bool:
    """Tell whether an architecture is one of torchvision's image classifiers."""
    return architecture.startswith(PREFIX) and architecture.removeprefix(PREFIX) in list_names()


def get_pretrained_arguments(architecture: str) -> dict[str, Any]:
    """Get the arguments by which torchvision builds a pretrained network of this architecture."""
    return dict(PRETRAINED_ARGUMENTS.get(architecture.removeprefix(PREFIX), {}))


def get_size_arguments(architecture: str, sides: list[int]) -> dict[str, Any]:
    """Get the arguments by which an architecture is built for images of this height and width; most need none."""
    name = architecture.removeprefix(PREFIX)
    if name.startswith("vit_"):
        return {"image_size": sides[0]}
    return {"input_size": sides} if name.startswith("maxvit") else {}


def build(architecture: str, num_classes: int = 1000, **model_args: Any) -> TimmNetwork:
    """Build an architecture without weights, on the meta device."""
    network = _build_plain(architecture, num_classes or 1, model_args)
    return _adapt(network, architecture, num_classes)


def load(
    architecture: str, num_classes: int, model_args: dict[str, Any], state: Mapping[str, torch.Tensor]
) -> TimmNetwork:
    """Build an architecture with these weights, under torchvision's names or those of `build`; raises StateUnfit.

    Weights of auxiliary heads are left out, and numbers become float32.
    """
    built = build(architecture, num_classes, **model_args)
    if getattr(built, "replaced", ()) and state.keys() == built.state_dict().keys():
        as_module(built).load_state_dict(to_float32(state), assign=True)
        return built
    network = _build_plain(architecture, num_classes or 1, model_args)
    needed = network.state_dict()  # which holds the versions that some networks ask for
    fitting = add_counters(normalize_state(state), needed)
    if num_classes == 0:
        path = _find_classifier(network)
        fitting.update({name: torch.zeros(needed[name].shape) for name in needed if name.rpartition(".")[0] == path})
    difference = explain_difference(list_shapes(fitting), list_shapes(needed))
    if difference is not None:
        raise StateUnfit(difference)
    needed.clear()
    needed.update(fitting)
    network.load_state_dict(needed, strict=True, assign=True)
    return _adapt(network, architecture, num_classes)


def normalize_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring weights into today's names and into float32, without those of auxiliary heads."""
    own = {OLD_DENSE_LAYER.sub(r"\1\2", name): value for name, value in state.items() if not AUXILIARY.match(name)}
    return to_float32(own)


def find_classifiers(architecture: str) -> list[str]:
    """Find the path of the classifier under torchvision's own names."""
    arguments = get_pretrained_arguments(architecture)
    return [_find_classifier(_build_plain(architecture, 1, arguments))]


def list_own_shapes(architecture: str) -> Shapes:
    """List the tensors of a pretrained network under torchvision's own names."""
    return list_shapes(_build_plain(architecture, 1000, get_pretrained_arguments(architecture)).state_dict())


def interpolate_positions(
    architecture: str, state: Mapping[str, torch.Tensor], side: int
) -> Mapping[str, torch.Tensor]:
    """Fit what a vision transformer has learned of positions to images of another side, in pixels."""
    if not architecture.startswith(f"{PREFIX}vit_"):
        return state
    from torchvision.models.vision_transformer import interpolate_embeddings

    patch = state["conv_proj.weight"].shape[-1]
    fitted: Mapping[str, torch.Tensor] = interpolate_embeddings(side, patch, dict(state))
    return fitted


def _build_plain(architecture: str, num_classes: int, model_args: Mapping[str, Any]) -> nn.Module:
    name = architecture.removeprefix(PREFIX)
    with _without_memory():
        network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **model_args)
    return network.eval()


@contextmanager
def _without_memory() -> Iterator[None]:
    """Put each parameter and buffer on the meta device as it is made.

    `torch.device("meta")` would not do: some networks compute their widths with tensors.
    """

    def move_parameter(_: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    def move_buffer(_: nn.Module, name: str, buffer: torch.Tensor | None) -> torch.Tensor | None:
        return None if buffer is None else buffer.to("meta")

    hooks = [
        register_module_parameter_registration_hook(cast("Any", move_parameter)),  # typed as if it returned nothing
        register_module_buffer_registration_hook(cast("Any", move_buffer)),
    ]
    try:
        with torch.device("cpu"):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _adapt(network: nn.Module, architecture: str, num_classes: int) -> TimmNetwork:
    """Give a network timm's calls, and a classifier that is linear and has a bias."""
    path = _find_classifier(network)
    last: Any = network.get_submodule(path)
    replaced: tuple[str, ...] = ()
    if architecture.removeprefix(PREFIX).startswith("squeezenet"):  # a ReLU follows its last convolution, then the mean
        layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), _build_linear(last.weight.flatten(1), last.bias))
        network.set_submodule("classifier", layers.eval())
        replaced, path = ("classifier",), "classifier.2"
    elif last.bias is None:
        network.set_submodule(path, nn.Sequential(_build_linear(last.weight, None)).eval())
        replaced, path = (path,), f"{path}.0"
    own = type(network)
    network.__class__ = type(own.__name__, (_ClassifierCalls, own), {})
    adapted = cast("Any", network)
    adapted.classifier_path, adapted.replaced, adapted.num_classes = path, replaced, num_classes
    adapted.num_features = adapted.get_classifier().in_features
    if num_classes == 0:
        adapted.reset_classifier(0)
    return cast("TimmNetwork", adapted)


def _find_classifier(network: nn.Module) -> str:
    """Find the path of a network's last linear layer or convolution."""
    paths: list[str] = [path for path, module in network.named_modules() if isinstance(module, LINEAR)]
    return paths[-1]


def _build_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """Build a linear layer of these weights (C, D), and of biases of 0 if there are none."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = nn.Parameter(weight.detach())
    linear.bias = nn.Parameter(torch.zeros(len(weight), device=weight.device) if bias is None else bias.detach())
    return linear
