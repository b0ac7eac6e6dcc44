"""Check one architecture with Graft's cuts: its structure on the meta device, and its numbers with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from models.backbones import torchvision_hub, torchvision_networks
from models.backbones.architectures import is_torchvision
from models.catalog.cuts import Stage
from models.networks.candidate_cuts import count_costs, list_candidate_cuts
from models.networks.cut_network import cut_at
from models.networks.feature_network import NetworkTail, cut_before_classifier
from models.networks.tracing import Untraceable, trace
from models.networks.types import as_module

if TYPE_CHECKING:
    from models.networks.cut_network import CutNetwork
    from models.networks.feature_network import FeatureNetwork
    from models.networks.types import TimmNetwork

Size = tuple[int, int, int]
SIDES = (64, 96, 128, 160)
"""Sides of small images that are tried for the numbers before the architecture's own."""
PARTS = (0.25, 0.5, 0.75)
"""Places of the cuts that are tried, as shares of their list."""
LEAST_SPREAD = 1e-4
"""Least difference of the features of two images, as a share of their size; below, equality would prove nothing."""


class HalvesDiffer(Exception):
    """The top on the trunk does not give the whole network's features to the bit."""


class GradientMissing(Exception):
    """A step of gradient descent does not change what is to be trained, or its gradients are not finite."""


@torch.no_grad()
def check_structure(architecture: str) -> dict[str, Any]:
    """Check how an architecture can be cut, without weights: through its graph, or before its classifier alone."""
    with torch.device("meta"):
        network = build(architecture)
    network.eval().requires_grad_(False)
    size = get_input_size(architecture)
    row: dict[str, Any] = {
        "input_size": "x".join(map(str, size[1:])),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    if not hasattr(network, "reset_classifier"):
        return {**row, "structure": "failed", "reason": "it has no classifier and takes none"}
    if network.num_classes == 0:
        with torch.device("meta"):
            network.reset_classifier(1)
    image = torch.empty(1, *size, device="meta")
    try:
        traced = trace(as_module(network)).fold_sizes(image)
    except Untraceable as error:
        NetworkTail.from_forward_head(network)
        return {**row, "structure": "classifier", "cuts": 1, "reason": " ".join(str(error).split())[:200]}
    tail = NetworkTail.from_trace(traced)
    assert tail.traced is not None
    shapes = count_costs(tail.traced, image).shapes  # of the graph that is cut, which may lack a layer
    cuts = len([cut for cut in tail.cuts.values() if cut in shapes])
    multiply_adds = sum(count_costs(traced, image).multiply_adds.values())
    return {**row, "structure": "graph", "cuts": cuts, "multiply_adds": multiply_adds}


def check_numbers(architecture: str) -> dict[str, Any]:
    """Check with random weights that halves equal the whole to the bit, and that a head and the top can be trained."""
    size = find_small_size(architecture)
    torch.manual_seed(0)
    network = build(architecture, size)
    enliven(network, size)
    feature_network = cut_before_classifier(network, size, {"architecture": architecture})
    spread = measure_spread(feature_network)
    row: dict[str, Any] = {"input_size": "x".join(map(str, size[1:])), "spread": f"{spread:.1e}"}
    if not spread > LEAST_SPREAD:
        return {**row, "numbers": "failed", "reason": "the features of different images do not differ"}
    names = choose_cuts(feature_network)
    for name in names:
        check_halves(feature_network, cut_at(feature_network, Stage(name=name)))
    check_gradient_step(feature_network, names[0] if names else None)
    return {**row, "numbers": "equal", "cuts": len(names)}


def build(architecture: str, size: Size | None = None) -> TimmNetwork:
    """Build an architecture with its default arguments, for images of this size or its own."""
    if is_torchvision(architecture):
        return _build_torchvision(architecture, size or get_input_size(architecture))
    is_sized = size is not None and timm.get_pretrained_cfg(architecture).fixed_input_size
    network: TimmNetwork = timm.create_model(architecture, **({"img_size": size[1:]} if size and is_sized else {}))
    return network


def _build_torchvision(architecture: str, size: Size) -> TimmNetwork:
    arguments = {
        **torchvision_networks.get_pretrained_arguments(architecture),
        **torchvision_networks.get_size_arguments(architecture, list(size[1:])),
    }
    if torch.get_default_device().type == "meta":
        return torchvision_networks.build(architecture, **arguments)
    untrained = models.get_model(architecture.removeprefix(torchvision_networks.PREFIX), **arguments)
    return torchvision_networks.load(architecture, 1000, arguments, untrained.state_dict())


def get_input_size(architecture: str) -> Size:
    """Get the size of the images that an architecture is made for, (3, H, W)."""
    if is_torchvision(architecture):
        return torchvision_hub.read_config(architecture).preprocessing.input_size
    cfg = timm.get_pretrained_cfg(architecture)
    channels, height, width = cfg.input_size if cfg is not None else (3, 224, 224)
    return channels, height, width


@torch.no_grad()
def find_small_size(architecture: str) -> Size:
    """Find the smallest of some sizes that an architecture takes, or else its own."""
    own = get_input_size(architecture)
    for side in SIDES:
        size = (own[0], side, side)
        try:
            with torch.device("meta"):
                network = build(architecture, size)
            network.eval()(torch.empty(2, *size, device="meta"))
        except Exception:  # noqa: S112  # each architecture has errors of its own for a size that it does not take
            continue
        if side < max(own[1:]):
            return size
    return own


@torch.no_grad()
def enliven(network: TimmNetwork, size: Size) -> None:
    """Make an untrained network's output depend on its input: no branch that is multiplied by 0, norms of real scale.

    Constant parameters get random values, and BatchNorm the statistics of random images.
    """
    for parameter in network.parameters():
        if parameter.numel() and parameter.min() == parameter.max():
            if 0 < abs(parameter.flatten()[0].item()) <= 1.5:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=0.02)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    network(torch.randn(4, *size))
    network.eval()


@torch.no_grad()
def measure_spread(feature_network: FeatureNetwork) -> float:
    """Measure how far the features of two images differ, as a share of their size."""
    features = feature_network.trunk(feature_network.sample_images)
    spread = (features[0] - features[1]).abs().max() / features.abs().max().clamp_min(1e-12)
    return float(spread)


def choose_cuts(feature_network: FeatureNetwork) -> list[str]:
    """Choose the cuts that are tried: at several places of the list."""
    names = [candidate.name for candidate in list_candidate_cuts(feature_network)[:-1]]
    return list(dict.fromkeys(names[int(part * len(names))] for part in PARTS)) if names else []


@torch.no_grad()
def check_halves(feature_network: FeatureNetwork, cut_network: CutNetwork) -> None:
    """Check that the top on the trunk gives the features of the whole to the bit; raises HalvesDiffer."""
    if cut_network.trunk is None:
        return
    images = torch.randn(3, *feature_network.input_size, generator=torch.Generator().manual_seed(1))
    whole, halves = feature_network.trunk(images), cut_network.top(cut_network.trunk(images))
    if not torch.equal(whole, halves):
        raise HalvesDiffer(f"cut at {cut_network.cut}: they differ by {(whole - halves).abs().max():.1e}")


def check_gradient_step(feature_network: FeatureNetwork, cut: str | None) -> None:
    """Take one step of gradient descent of a head and of what lies above a cut; raises GradientMissing."""
    images = feature_network.sample_images
    head = nn.Linear(feature_network.num_features, 3)
    trained: dict[str, nn.Parameter] = {}
    top: nn.Module = nn.Identity()
    trunk = feature_network.trunk
    if cut is not None:
        cut_network = cut_at(feature_network, Stage(name=cut))
        assert cut_network.trunk is not None
        cut_network.set_modes(len(cut_network.stages), norms_train=False)
        top, trunk = cut_network.top, cut_network.trunk
        trained = {name: value for stage in cut_network.stages for name, value in stage.parameters.items()}
        trained = {name: value for name, value in trained.items() if value.requires_grad}
    with torch.no_grad():
        values = trunk(images)
    loss = nn.functional.cross_entropy(head(top(values)), torch.tensor([0, 1]))
    torch.autograd.backward(loss)
    gradients = {name: value.grad for name, value in {**trained, "head": head.weight}.items()}
    missing = [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    if missing:
        raise GradientMissing(f"{len(missing)} of {len(gradients)} have none that is finite: {', '.join(missing[:3])}")
