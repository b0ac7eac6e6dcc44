"""A backbone's own classifier, for the classes that a dataset shares with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timm.data import ImageNetInfo, infer_imagenet_subset

from models.networks.output_layers import can_be_output
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from models.backbones.backbone import Backbone

NAMES_SHOWN = 5


class ClassesDiffer(SurgeryError):
    """The backbone's classifier does not know all of the dataset's classes."""

    code = "classes_differ"


def select_classes(backbone: Backbone, classes: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Copy the weights W (C, D) and biases b (C,) of the backbone's own classifier for these classes.

    Classes are matched by the names in the backbone's configuration (label_names), or by WordNet's ids (n01440764)
    for those of ImageNet. Raises ClassesDiffer.
    """
    classifier = backbone.network.get_classifier()
    if not can_be_output(classifier):
        raise ClassesDiffer(
            "This backbone's classifier is not one linear layer that could be kept: set head to linear."
        )
    names = _class_names(backbone)
    if len(names) != len(classifier.weight):
        raise ClassesDiffer(
            "This backbone's configuration does not name the classes of its classifier: set head to linear."
        )
    unknown = [name for name in classes if names.count(name) != 1]
    if unknown:
        raise ClassesDiffer(
            f"This backbone's classifier knows {len(names)} classes, such as {', '.join(names[:NAMES_SHOWN])}, "
            f"but not {', '.join(unknown[:NAMES_SHOWN])}: set head to linear."
        )
    rows = [names.index(name) for name in classes]
    assert classifier.bias is not None
    return classifier.weight.detach()[rows].flatten(1), classifier.bias.detach()[rows]


def _class_names(backbone: Backbone) -> list[str]:
    given = backbone.pretrained_cfg.get("label_names")
    if given:
        return list(given)
    subset = infer_imagenet_subset(backbone.network)
    return list(ImageNetInfo(subset).label_names()) if subset else []
