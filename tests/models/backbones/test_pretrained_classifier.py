"""Keeping: the classes that a dataset shares with a backbone, by their names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from models import backbones
from models.backbones.backbone import Backbone
from models.backbones.pretrained_classifier import ClassesDiffer, kept_classifier
from tests.support.networks import network
from tests.support.small_backbone import CONFIG, write_backbone

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def backbone(name: str, label_names: list[str] | None = None, **arguments: object) -> Backbone:
    """A backbone of a network of timm."""
    cfg = {"label_names": label_names} if label_names else {}
    return Backbone(f"timm/{name}", name, {}, cfg, network(name, **arguments))


def test_classes_of_a_local_backbone_go_by_the_names_in_its_configuration(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "small")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "label_names": NAMES}))
    small = backbones.load("local/small", tmp_path)
    weight, bias = kept_classifier(small, ["dog", "bee", "jay"])
    assert torch.equal(weight, small.network.fc.weight[[3, 1, 9]])
    assert torch.equal(bias, small.network.fc.bias[[3, 1, 9]])


def test_classes_of_imagenet_go_by_the_ids_of_wordnet() -> None:
    whole = backbone("test_resnet")
    weight, bias = kept_classifier(whole, ["n15075141", "n01440764"])  # toilet tissue is the last, a tench the first
    assert torch.equal(weight, whole.network.fc.weight[[999, 0]])
    assert torch.equal(bias, whole.network.fc.bias[[999, 0]])


def test_what_is_kept_is_a_copy() -> None:
    whole = backbone("test_resnet", NAMES, num_classes=10)
    weight, _ = kept_classifier(whole, NAMES)
    whole.network.fc.weight.data.zero_()
    assert weight.abs().sum() > 0


def test_a_convolution_is_kept_as_a_linear_layer() -> None:
    whole = backbone("resnetv2_18", NAMES, num_classes=10)
    weight, _ = kept_classifier(whole, ["cat"])
    assert torch.equal(weight, whole.network.head.fc.weight[2:3].flatten(1))


REFUSED = [
    ("test_resnet", None, {}, ["cat"], r"knows 1000 classes, such as n01440764, .*; cat is not one of them"),
    ("test_resnet", NAMES, {"num_classes": 10}, ["cat", "yak", "zebu"], "yak, zebu is not one of them"),
    ("test_resnet", [*NAMES[:9], "ant"], {"num_classes": 10}, ["ant"], "ant is not one of them"),
    ("test_resnet", None, {"num_classes": 10}, ["cat"], "does not say which classes"),
    ("test_resnet", NAMES[:9], {"num_classes": 10}, ["cat"], "does not say which classes"),
    ("test_resnet", NAMES, {"num_classes": 0}, ["cat"], "not one linear layer"),
    ("deit_tiny_distilled_patch16_224", None, {"img_size": 32, "depth": 1}, ["n01440764"], "not one linear layer"),
]
"""Name, names of its classes, arguments, classes of the dataset, and what is said."""


@pytest.mark.parametrize(("name", "label_names", "arguments", "classes", "said"), REFUSED)
def test_what_cannot_be_kept_is_refused_with_what_to_change(
    name: str, label_names: list[str] | None, arguments: dict[str, object], classes: list[str], said: str
) -> None:
    with pytest.raises(ClassesDiffer, match=f"{said}.*set head to linear"):
        kept_classifier(backbone(name, label_names, **arguments), classes)
