"""A backbone's own classifier, for the classes that a dataset shares with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn

from models.networks.output_layers import can_be_output
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from models.backbones.backbone import Backbone
    from models.networks.types import TimmNetwork

NAMES_SHOWN = 5


class ClassesDiffer(SurgeryError):
    """The backbone's classifier knows none of the dataset's classes, or cannot be kept."""

    code = "classes_differ"


@dataclass(frozen=True)
class KeptClassifier:
    """Weights and biases of a backbone's own classifier, in the order of a dataset's classes."""

    weight: torch.Tensor
    """W (C, D), with zeros for new classes."""
    bias: torch.Tensor
    """b (C,), with zeros for new classes."""
    known: list[str]
    """Classes that the backbone knows: they start as they were."""
    new: list[str]
    """Classes that it does not know: they start at zero, as those of a linear head."""


def select_classes(backbone: Backbone, classes: Sequence[str]) -> KeptClassifier:
    """Copy the weights W and biases b of the backbone's own classifier for these classes, with zeros for new ones.

    Classes are matched by the names in the backbone's configuration (label_names), or by WordNet's ids (n01440764)
    for those of ImageNet. Raises ClassesDiffer, where the backbone knows none of them.
    """
    classifier = find_classifier(backbone.network)
    if not can_be_output(classifier):
        raise ClassesDiffer(
            "This backbone's classifier is not one linear layer that could be kept: set head to linear."
        )
    names = read_class_names(backbone)
    if len(names) != len(classifier.weight):
        raise ClassesDiffer(
            "This backbone's configuration does not name the classes of its classifier: set head to linear."
        )
    known = [name for name in classes if name in names]
    twice = [name for name in known if names.count(name) > 1]
    if twice or not known:
        lacking = f"has {', '.join(twice[:NAMES_SHOWN])} twice" if twice else "but none of the dataset's: "
        shown = "" if twice else ", ".join(classes[:NAMES_SHOWN])
        raise ClassesDiffer(
            f"This backbone's classifier knows {len(names)} classes, such as {', '.join(names[:NAMES_SHOWN])}, "
            f"{lacking}{shown}: set head to linear."
        )
    assert classifier.bias is not None
    own_weight, own_bias = classifier.weight.detach().flatten(1), classifier.bias.detach()
    weight, bias = own_weight.new_zeros(len(classes), own_weight.shape[1]), own_bias.new_zeros(len(classes))
    rows = [classes.index(name) for name in known]
    weight[rows], bias[rows] = (own[[names.index(name) for name in known]] for own in (own_weight, own_bias))
    return KeptClassifier(weight, bias, known, [name for name in classes if name not in names])


def find_classifier(network: TimmNetwork) -> nn.Module:
    """Find the layer that gives the logits; of a checkpoint's head of several layers, the last."""
    classifier = network.get_classifier()
    while isinstance(classifier, nn.Sequential) and len(classifier):
        classifier = classifier[-1]
    return classifier


def read_class_names(backbone: Backbone) -> list[str]:
    """Read the names of the classes of a backbone's classifier; empty where they are not known."""
    given = backbone.pretrained_cfg.get("label_names")
    if given:
        return list(given)
    subset = infer_imagenet_subset(backbone.network)
    return list(ImageNetInfo(subset).label_names()) if subset else []
