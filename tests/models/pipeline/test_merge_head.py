"""Delivery: what a reader builds with a few lines of torch says what was trained, for every head."""

from __future__ import annotations

import json
from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter
from torch import nn

from models.catalog import activations, heads
from models.catalog.technique import members
from models.features.standardization import Standardization
from models.networks.cut_network import CutNetwork
from models.networks.feature_network import cut_before_classifier
from models.pipeline.merge_head import HeadUnsupported, describe_replaced, find_head_slot, merge_head, to_plain_layers
from models.training.trainable_model import TrainableModel
from tests.support.networks import Wayward, given, network, rebuild, small_clip

CLASSES = 5
ACTIVATIONS = [member.model_fields["kind"].default for member in members(activations.Activation)]
NORMALIZATIONS = [
    {"kind": kind, "place": place, "epsilon": 1e-3}
    for kind in ("batch_norm", "layer_norm")
    for place in ("before_activation", "after_activation")
]
HEADS: list[Any] = [
    {"kind": "linear"},
    {"kind": "keep"},
    {"kind": "cosine", "scale": 7.0},
    *({"kind": "mlp", "activation": kind} for kind in ACTIVATIONS),
    *({"kind": "mlp", "normalization": normalization} for normalization in NORMALIZATIONS),
    {"kind": "mlp", "hidden": [9, {"width": 7, "activation": {"kind": "leaky_relu", "slope": 0.3}}, 6]},
    {"kind": "mlp", "activation": {"kind": "elu", "alpha": 0.4}, "normalization": NORMALIZATIONS[0], "hidden": [8, 7]},
]


def head_of(given: Any) -> heads.Head:
    """A head of the catalog, resolved for 96 features."""
    head: heads.Head = TypeAdapter(heads.Head).validate_python(given)
    return head.resolve(96, CLASSES)


def model_with(head: heads.Head, num_features: int) -> TrainableModel:
    """The head as training leaves it: weights and BatchNorm's statistics are anything."""
    torch.manual_seed(3)
    built = head.build(num_features, CLASSES)
    for parameter in built.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    standardize = Standardization(torch.randn(num_features), torch.rand(num_features) + 0.1)
    built.train()(torch.randn(64, num_features) * 2 + 1)
    return TrainableModel(CutNetwork(None, nn.Identity(), "", (num_features,), ""), built, standardize).eval()


@pytest.mark.parametrize("given", HEADS, ids=lambda given: "-".join(map(str, given.values()))[:60])
@torch.no_grad()
def test_plain_layers_say_what_the_head_says(given: Any) -> None:
    model = model_with(head_of(given), 96)
    layers = to_plain_layers(model)
    features = torch.randn(20, 96)
    torch.testing.assert_close(layers(features), model(features), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(layer, nn.Dropout) for layer in layers)
    assert {type(layer).__module__.rsplit(".", 1)[0] for layer in layers} == {"torch.nn.modules"}


@pytest.mark.parametrize("head", HEADS, ids=lambda given: "-".join(map(str, given.values()))[:60])
@torch.no_grad()
def test_every_head_is_delivered_in_a_network_that_can_be_built_again(head: Any) -> None:
    whole = network("test_resnet")
    feature_network = cut_before_classifier(whole, (3, 64, 64), {})
    whole = feature_network.network
    image = given((3, 64, 64), count=3)
    model = model_with(head_of(head), feature_network.num_features)
    meant = model(feature_network.trunk(image))
    slot = find_head_slot(feature_network, head_of(head), [])
    merge_head(slot, to_plain_layers(model))
    torch.testing.assert_close(whole(image), meant, atol=1e-5, rtol=1e-5)
    replaced = json.dumps(describe_replaced(slot))
    assert (replaced == "{}") == (head["kind"] in ("linear", "keep"))
    again = rebuild(timm.create_model("test_resnet", num_classes=CLASSES), replaced, whole.state_dict())
    torch.testing.assert_close(again(image), meant, atol=1e-5, rtol=1e-5)


FAMILIES = [
    ("test_vit", {}, 160),
    ("test_efficientnet", {}, 32),
    ("test_mambaout", {}, 32),
    ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1, "num_classes": 0}, 32),
    ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1), "embed_dim": 24}, 64),
    ("caformer_s18", {}, 32),
    ("densenet121", {"growth_rate": 8, "block_config": (2, 2, 2, 2)}, 32),
    # a class of timm's own for the linear layer
    ("mobilenetv3_small_050", {}, 32),
    # convolutions
    ("resnetv2_18", {}, 32),
    ("test_convnext", {"head_hidden_size": 24, "conv_mlp": True}, 32),
]
"""Name, arguments, and side of the image."""


@pytest.mark.extended
@pytest.mark.parametrize(("name", "arguments", "side"), FAMILIES, ids=[row[0] for row in FAMILIES])
@torch.no_grad()
def test_layers_take_the_place_of_each_form_of_classifier(name: str, arguments: dict[str, Any], side: int) -> None:
    whole = network(name, **arguments)
    feature_network = cut_before_classifier(whole, (3, side, side), {})
    whole = feature_network.network
    image = given((3, side, side), count=3)
    head = head_of({"kind": "mlp", "hidden": [8], "normalization": "batch_norm"})
    model = model_with(head, feature_network.num_features)
    meant = model(feature_network.trunk(image))
    slot = find_head_slot(feature_network, head, [])
    merge_head(slot, to_plain_layers(model))
    again = timm.create_model(name, **{**arguments, "num_classes": CLASSES})
    again = rebuild(again, json.dumps(describe_replaced(slot)), whole.state_dict())
    torch.testing.assert_close(again(image), meant, atol=1e-5, rtol=1e-5)


MLP, LINEAR = head_of({"kind": "mlp"}), head_of({"kind": "linear"})


@torch.no_grad()
def test_a_network_without_a_graph_is_delivered_too() -> None:
    torch.manual_seed(0)
    feature_network = cut_before_classifier(Wayward().eval(), (3, 16, 16), {})
    whole = feature_network.network
    image = given((3, 16, 16))
    model = model_with(MLP, 6)
    meant = model(feature_network.trunk(image))
    slot = find_head_slot(feature_network, MLP, [])
    merge_head(slot, to_plain_layers(model))
    again = rebuild(Wayward(), json.dumps(describe_replaced(slot)), whole.state_dict())
    torch.testing.assert_close(again(image), meant, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(feature_network.trunk(image)), meant), "the trunk is what it was"


@pytest.mark.parametrize("name", ["test_resnet", "resnetv2_18", "wayward"])
def test_finding_the_place_leaves_the_network_as_it_was(name: str) -> None:
    whole = Wayward().eval() if name == "wayward" else network(name)
    feature_network = cut_before_classifier(whole, (3, 32, 32), {})
    whole = feature_network.network
    modules, before = dict(whole.named_modules()), feature_network.trunk(feature_network.sample_images)
    for _ in range(2):
        find_head_slot(feature_network, MLP, [])
    after = dict(whole.named_modules())
    assert modules.keys() == after.keys()
    assert all(module is after[path] for path, module in modules.items())
    assert torch.equal(feature_network.trunk(feature_network.sample_images), before)


REFUSED = [
    ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}, 32),
    ("levit_128s", {"img_size": 64}, 64),
    ("volo_d1_224", {"img_size": 64}, 64),
    ("clip", {}, 64),
]


@pytest.mark.parametrize(("name", "arguments", "side"), REFUSED, ids=[row[0] for row in REFUSED])
@torch.no_grad()
def test_a_classifier_that_only_a_linear_one_can_replace_is_refused_by_name(
    name: str, arguments: dict[str, Any], side: int
) -> None:
    whole = small_clip() if name == "clip" else network(name, **arguments)
    feature_network = cut_before_classifier(whole, (3, side, side), {})
    whole = feature_network.network
    with pytest.raises(HeadUnsupported, match="set head to linear"):
        find_head_slot(feature_network, MLP, [])
    with pytest.raises(HeadUnsupported, match="set drop_stages to 0"):
        find_head_slot(feature_network, LINEAR, ["blocks.0"])
    model = model_with(LINEAR, feature_network.num_features)
    slot = find_head_slot(feature_network, LINEAR, [])
    merge_head(slot, to_plain_layers(model))
    meant = model(feature_network.trunk(feature_network.sample_images))
    torch.testing.assert_close(whole(feature_network.sample_images), meant, atol=1e-4, rtol=1e-4)
    assert describe_replaced(slot) == {}
