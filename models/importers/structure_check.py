"""Graft's own check of an imported network: it is cut exactly, can be trained, and treats each image alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.importers.errors import ImportRejected
from models.importers.report import StructureCheck
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.feature_network import ConcatenateVectors, cut_before_classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.networks.feature_network import FeatureNetwork
    from models.networks.types import TimmNetwork

SHARE_OF_SPREAD = 0.01
"""Greatest difference of an image's features alone and in a batch, as a share of how far images' features differ."""
SHARE_OF_SIZE = 1e-4
"""The same as a share of the features' size, where all images have about the same features."""
SAME = 1e-6
"""Relative difference below which a layer's outputs are the same for all images."""
MAX_NAMED = 5


def check_structure(
    network: TimmNetwork, images: torch.Tensor, identity: Mapping[str, Any], heartbeat: Callable[[], None]
) -> StructureCheck:
    """Check a network on images (B, 3, H, W), as it takes them; B is at least 2.

    Raises ImportRejected, and SurgeryError where it cannot be cut before its classifier.
    """
    input_size = (images.shape[1], images.shape[2], images.shape[3])
    feature_network = cut_before_classifier(network, input_size, identity)
    heartbeat()
    cuts = [candidate.name for candidate in list_candidate_cuts(feature_network)]
    inner = [name for name in cuts if name in feature_network.tail.cuts and name != feature_network.cut]
    check = StructureCheck(cuts=len(cuts), batch_difference=_compare_batches(feature_network, images, heartbeat))
    for name in dict.fromkeys(inner[:1] + inner[-1:]):
        heartbeat()
        _check_cut(feature_network, name, images)
        check.exact_cuts.append(name)
    if inner:
        check.parameters_above, check.parameters_with_gradient = _check_gradients(feature_network, inner[0], images)
        check.dead_outputs = _find_dead(feature_network, images)
    return check


@torch.no_grad()
def _compare_batches(feature_network: FeatureNetwork, images: torch.Tensor, heartbeat: Callable[[], None]) -> float:
    """Compare features of each image alone with those in a batch; they may differ by rounding only."""
    together = feature_network.trunk(images)
    alone = []
    for number in range(len(images)):
        heartbeat()
        alone.append(feature_network.trunk(images[number : number + 1]))
    if not together.isfinite().all():
        raise ImportRejected(
            "not_finite",
            "The network gives numbers that are not finite (NaN or infinite) on ordinary images: its weights are "
            "damaged, or overflow. Save or export it again.",
        )
    difference = float((together - torch.cat(alone)).abs().max())
    spread = float((together - together.mean(0)).abs().amax(1).median())
    if not difference <= max(SHARE_OF_SPREAD * spread, SHARE_OF_SIZE * float(together.abs().max())):
        raise ImportRejected(
            "batch_dependent",
            f"The network's output for an image depends on the others in its batch: it differs by {difference:.2g} "
            f"where images differ by {spread:.2g}. It was exported in training mode, or normalizes over the batch. "
            "Export it in evaluation mode (model.eval() in PyTorch, training=False in Keras).",
        )
    return difference


@torch.no_grad()
def _check_cut(feature_network: FeatureNetwork, name: str, images: torch.Tensor) -> None:
    """Check that the halves of a network, run one after the other, equal the whole to the bit."""
    below, above = feature_network.tail.build_parts(name)
    expected = feature_network.trunk(images)
    found = ConcatenateVectors()(above.eval()(below.eval()(images)))
    if not torch.equal(expected, found):
        difference = float((expected - found).abs().max())
        raise ImportRejected(
            "cut_differs",
            f"Cut at {name}, the two halves of the network do not give what the whole gives (they differ by "
            f"{difference:.2g}). Please report this file; no backbone is made of it.",
        )


def _check_gradients(feature_network: FeatureNetwork, name: str, images: torch.Tensor) -> tuple[int, int]:
    """Train a step above a cut, and count the parameters there and those with a gradient that is not 0."""
    below, above = feature_network.tail.build_parts(name)
    with torch.no_grad():
        features = below.eval()(images)
    parameters = {id(parameter): parameter for parameter in above.eval().parameters()}.values()
    if not parameters:
        return 0, 0
    generator = torch.Generator().manual_seed(0)
    try:
        for parameter in parameters:
            parameter.requires_grad_(parameter.is_floating_point())
        vectors = ConcatenateVectors()(above(features))
        weight = torch.randn(len(images), vectors.shape[1], generator=generator) / vectors.shape[1] ** 0.5
        loss = nn.functional.cross_entropy(vectors @ weight.T, torch.arange(len(images)))
        torch.autograd.backward(loss)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise ImportRejected(
                "gradient_not_finite",
                "Gradients of the network are not finite (NaN or infinite), so it cannot be trained. Its weights are "
                "damaged, or overflow. Export it again.",
            )
        trained = sum(bool(gradient.any()) for gradient in gradients)
    except RuntimeError as error:
        raise ImportRejected(
            "untrainable",
            f"The network cannot be trained: {' '.join(str(error).split())[:300]}. Please report this file.",
        ) from error
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
    if not trained:
        raise ImportRejected(
            "untrainable",
            f"No layer above {name} gets a gradient: all outputs there are constant, as in a network whose weights "
            "were never trained, or are all 0. Export the trained network.",
        )
    return len(parameters), trained


@torch.no_grad()
def _find_dead(feature_network: FeatureNetwork, images: torch.Tensor) -> list[str]:
    """Find the first layers whose output is the same for all images."""
    traced = feature_network.tail.traced
    assert traced is not None
    recorder = _ConstantRecorder(fx.GraphModule(traced.network, traced.graph), len(images))
    recorder.run(images)
    return recorder.found[:MAX_NAMED]


class _ConstantRecorder(fx.Interpreter):
    """Runs a graph and records the linear layers whose output is the same for all images."""

    def __init__(self, network: fx.GraphModule, batch: int) -> None:
        super().__init__(network)
        self.batch = batch
        self.found: list[str] = []

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer."""
        value = super().call_module(target, args, kwargs)
        is_layer = isinstance(self.fetch_attr(target), nn.Linear | nn.Conv2d)
        is_of_images = is_layer and isinstance(value, torch.Tensor) and len(value) == self.batch
        if is_of_images and float((value - value[:1]).abs().max()) <= SAME * float(value.abs().max()):
            self.found.append(str(target))
        return value
