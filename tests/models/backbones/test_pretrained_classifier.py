"""A backbone's own classifier, for classes matched by their names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from models import backbones
from models.backbones.backbone import Backbone
from models.backbones.pretrained_classifier import ClassesDiffer, select_classes
from tests.support.networks import network
from tests.support.small_backbone import CONFIG, write_backbone

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def backbone(name: str, label_names: list[str] | None = None, **arguments: object) -> Backbone:
    """A backbone of a network of timm."""
    cfg = {"label_names": label_names} if label_names else {}
    return Backbone.from_network(f"timm/{name}", name, {}, cfg, network(name, **arguments))


def test_classes_of_a_local_backbone_go_by_the_names_in_its_configuration(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "label_names": NAMES}))
    small = backbones.load("local/small", tmp_path)
    kept = select_classes(small, ["dog", "bee", "jay"])
    assert torch.equal(kept.weight, small.network.get_classifier().weight[[3, 1, 9]])
    assert torch.equal(kept.bias, small.network.get_classifier().bias[[3, 1, 9]])


def test_classes_of_imagenet_go_by_the_ids_of_wordnet() -> None:
    whole = backbone("test_resnet")
    kept = select_classes(whole, ["n15075141", "n01440764"])  # toilet tissue is the last, a tench the first
    assert torch.equal(kept.weight, whole.network.get_classifier().weight[[999, 0]])
    assert torch.equal(kept.bias, whole.network.get_classifier().bias[[999, 0]])


def test_what_is_kept_is_a_copy() -> None:
    whole = backbone("test_resnet", NAMES, num_classes=10)
    kept = select_classes(whole, NAMES)
    whole.network.get_classifier().weight.data.zero_()
    assert kept.weight.abs().sum() > 0


def test_a_convolution_is_kept_as_a_linear_layer() -> None:
    whole = backbone("resnetv2_18", NAMES, num_classes=10)
    kept = select_classes(whole, ["cat"])
    assert torch.equal(kept.weight, whole.network.get_classifier().weight[2:3].flatten(1))


def test_classes_that_the_backbone_does_not_know_start_from_zeros() -> None:
    whole = backbone("test_resnet", NAMES, num_classes=10)
    kept = select_classes(whole, ["yak", "cat", "zebu", "ant"])
    own = whole.network.get_classifier()
    assert torch.equal(kept.weight[[1, 3]], own.weight[[2, 0]])
    assert torch.equal(kept.bias[[1, 3]], own.bias[[2, 0]])
    assert not kept.weight[[0, 2]].any()
    assert not kept.bias[[0, 2]].any()
    assert (kept.known, kept.new) == (["cat", "ant"], ["yak", "zebu"])


REFUSED = [
    ("test_resnet", None, {}, ["cat"], r"knows 1000 classes, such as n01440764, .*but none of the dataset's: cat"),
    ("test_resnet", NAMES, {"num_classes": 10}, ["yak", "zebu"], "but none of the dataset's: yak, zebu"),
    ("test_resnet", [*NAMES[:9], "ant"], {"num_classes": 10}, ["ant"], "has ant twice"),
    ("test_resnet", None, {"num_classes": 10}, ["cat"], "does not name the classes"),
    ("test_resnet", NAMES[:9], {"num_classes": 10}, ["cat"], "does not name the classes"),
    ("test_resnet", NAMES, {"num_classes": 0}, ["cat"], "not one linear layer"),
    ("deit_tiny_distilled_patch16_224", None, {"img_size": 32, "depth": 1}, ["n01440764"], "not one linear layer"),
]
"""Name, names of its classes, arguments, classes of the dataset, and the message."""


@pytest.mark.parametrize(("name", "label_names", "arguments", "classes", "message"), REFUSED)
def test_what_cannot_be_kept_is_refused_with_what_to_change(
    name: str, label_names: list[str] | None, arguments: dict[str, object], classes: list[str], message: str
) -> None:
    with pytest.raises(ClassesDiffer, match=f"{message}.*set head to linear"):
        select_classes(backbone(name, label_names, **arguments), classes)
