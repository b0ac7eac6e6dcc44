"""Surgery against the network that is delivered."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.backbones import timm_hub
from models.networks.feature_network import (
    ClassifierUnsupported,
    ConcatenateVectors,
    FeatureNetwork,
    cut_before_classifier,
)
from models.networks.image_sizes import InputSizeUnsupported
from tests.support.networks import Wayward, copy_state, given, images, network, small_clip

FAMILIES = [
    # one linear layer on one vector
    ("test_resnet", {}, 32, "global_pool.flatten", 1),
    ("test_vit", {}, 160, "head_drop", 1),
    ("test_convnext", {}, 32, "head.drop", 1),
    ("test_efficientnet", {}, 32, "global_pool.flatten", 1),
    ("test_nfnet", {}, 64, "head.drop", 1),
    ("hiera_tiny_224", {"img_size": 64, "stages": (1, 1, 1, 1)}, 64, "head.drop", 1),
    # a class of timm's own for the linear layer
    ("mobilenetv3_small_050", {}, 32, "flatten", 1),
    # a linear layer inside the classifier's module
    ("resnetv2_18", {}, 64, "head.drop", 1),
    ("cpubone_nano", {}, 64, "head.pre_classifier.act", 1),
    ("caformer_s18", {}, 64, "head.fc.head_drop", 1),
    ("sequencer2d_s", {"img_size": 64, "layers": (1, 1, 1, 1)}, 64, "head.drop", 1),
    ("iformer_t", {}, 64, "head.head.bn", 1),
    # two that are averaged, on one vector
    ("efficientformer_l1", {}, 224, "head_drop", 2),
    ("efficientformerv2_s0", {"img_size": 64}, 64, "head_drop", 2),
    ("swiftformer_xs", {}, 64, "head_drop", 2),
    # two that are averaged, on two vectors
    ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}, 32, "head_drop + head_drop_1", 2),
    ("pit_ti_distilled_224", {"img_size": 64}, 64, "head_drop + head_drop_1", 2),
    ("levit_128s", {"img_size": 64}, 64, "head.drop + head_dist.drop", 2),
    ("repvit_m1", {}, 64, "head.head.bn + head.head_dist.bn", 2),
    ("iformer_m_distilled", {}, 64, "head.head.bn + head.head_dist.bn", 2),
    ("crossvit_tiny_240", {}, 240, "head_drop + head_drop_1", 2),
    # by learned shares
    ("efficientvim_m1", {}, 64, "head_drop + head_drop_1 + head_drop_2 + head_drop_3", 4),
    ("efficientvim_m1_dist", {}, 64, "head_drop + head_drop_1 + head_drop_2 + head_drop_3", 8),
    # one of two must be silent
    ("volo_d1_224", {"img_size": 64}, 64, "head_drop", 2),
    # pooled after the linear layer
    ("resnet50_clip", {}, 64, "head.proj", 1),
    # no graph
    ("gemma4_vit_167m", {"img_size": 96, "depth": 1, "num_classes": 7}, 96, "forward_head", 1),
    # no classifier of its own
    ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1, "num_classes": 0}, 32, "head_drop", 1),
]
"""Name, arguments, side of the image, the expected cut, and how many last layers there are."""


def assert_delivers(whole: Any, name: str, arguments: dict[str, object], side: int) -> FeatureNetwork:
    """Features and a new classifier against plain timm with the network's weights, as a user loads them."""
    feature_network = cut_before_classifier(whole, (3, side, side), {})
    features = feature_network.trunk(given((3, side, side)))
    assert features.shape == (2, feature_network.num_features)
    weight, bias = torch.randn(5, feature_network.num_features) / feature_network.num_features**0.5, torch.randn(5)
    feature_network.classifier.set_weights(weight, bias)
    delivered = timm.create_model(name, **{**arguments, "num_classes": 5}).eval()
    delivered.load_state_dict(feature_network.network.state_dict())
    logits = delivered(given((3, side, side)))
    torch.testing.assert_close(logits, nn.functional.linear(features, weight, bias), atol=1e-5, rtol=1e-5)
    assert not torch.equal(*features), "two images are told apart"
    return feature_network


@pytest.mark.extended
@pytest.mark.parametrize(("name", "arguments", "side", "cut", "layers"), FAMILIES, ids=[row[0] for row in FAMILIES])
@torch.inference_mode()
def test_each_form_of_classifier_is_replaced(
    name: str, arguments: dict[str, object], side: int, cut: str, layers: int
) -> None:
    whole = network(name, **arguments)
    for learned in ("weights", "weights_dist"):  # EfficientViM's shares, all the same before training
        if hasattr(whole, learned):
            nn.init.normal_(getattr(whole, learned))
    feature_network = assert_delivers(whole, name, arguments, side)
    assert (feature_network.cut, len(feature_network.classifier.layers)) == (cut, layers)


CUT = [
    *(("test_resnet", {}, 32), ("test_vit", {}, 160), ("test_efficientnet", {}, 32), ("test_mambaout", {}, 32)),
    *(("mobilenetv2_050", {}, 32), ("resnet18", {}, 32), ("resnetv2_18", {}, 32), ("mobilenetv3_small_050", {}, 32)),
    ("densenet121", {"growth_rate": 8, "block_config": (2, 2, 2, 2)}, 32),
    ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, 32),
    ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1), "embed_dim": 24}, 64),
    ("convnext_atto", {"depths": (1, 1, 1, 1)}, 32),
    ("vit_small_patch16_dinov3", {"embed_dim": 48, "num_heads": 2, "depth": 2}, 32),
    # several vectors before the classifier
    ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 2}, 32),
    ("pit_ti_distilled_224", {"img_size": 64}, 64),
    # pooled after it
    ("clip", {}, 64),
]
"""Name, arguments and side of the image of networks that are cut everywhere."""
CUT_SLOWLY = [
    *(("test_convnext", {}, 64), ("test_nfnet", {}, 96), ("test_maxvit", {}, 160), ("vgg11_bn", {}, 64)),
    *(
        ("efficientnet_b0", {}, 64),
        ("regnetx_002", {}, 64),
        ("ghostnet_100", {}, 64),
        ("levit_128s", {"img_size": 64}, 64),
    ),
    *(("tiny_vit_5m_224", {}, 64), ("efficientvit_m0", {}, 64), ("mvitv2_tiny", {"img_size": 64}, 64)),
    *(("repvit_m1", {}, 64), ("xcit_nano_12_p8_224", {}, 64), ("hrnet_w18_small", {}, 64), ("efficientvim_m1", {}, 64)),
    *(("twins_svt_small", {"img_size": 64, "depths": (1, 1, 1, 1)}, 64), ("volo_d1_224", {"img_size": 64}, 64)),
]


@pytest.mark.parametrize(
    ("name", "arguments", "side"), [*CUT, *(pytest.param(*row, marks=pytest.mark.slow) for row in CUT_SLOWLY)]
)
@torch.inference_mode()
def test_a_network_parted_anywhere_gives_its_features_to_the_bit(
    name: str, arguments: dict[str, object], side: int
) -> None:
    whole = small_clip() if name == "clip" else network(name, **arguments)
    feature_network = cut_before_classifier(whole, (3, side, side), {})
    image = given((3, side, side), count=3)
    features, joined = feature_network.trunk(image), ConcatenateVectors()
    assert len(feature_network.tail.cuts) >= 5
    for cut in feature_network.tail.cuts:
        trunk, top = feature_network.tail.build_parts(cut)
        assert torch.equal(joined(top(trunk(image))), features), cut


def test_each_cut_has_a_digest_of_its_own_that_the_classifier_has_no_part_in() -> None:
    def digests(changed: str | None) -> dict[str, str]:
        whole = network("test_resnet")
        if changed is not None:
            with torch.no_grad():
                whole.get_parameter(changed).add_(1.0)
        tail = cut_before_classifier(whole, (3, 32, 32), {}).tail
        return {name: tail.compute_digest(tail.build_parts(name)[0], name, {}) for name in tail.cuts}

    plain, above = digests(None), digests("layer4.0.conv1.weight")
    assert len(set(plain.values())) == len(plain) == 20
    assert digests("fc.weight") == plain
    same = [name for name in plain if plain[name] == above[name]]
    assert same == [name for name in plain if not name.startswith(("layer4", "global_pool"))]


@torch.no_grad()
def test_what_a_cut_uses_are_the_networks_parameters_below_it() -> None:
    tail = cut_before_classifier(network("test_vit"), (3, 160, 160), {}).tail
    used = tail.collect_parameters
    assert used("patch_embed.proj").keys() == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert used("pos_drop").keys() - used("patch_embed.norm").keys() == {"cls_token", "pos_embed"}
    assert not any(name.startswith(("blocks.1", "norm", "head")) for name in used("blocks.0.add_1"))
    own = dict(tail.traced.network.named_parameters())
    assert used("head_drop").keys() == own.keys() - {"head.weight", "head.bias"}


SEVERAL_LAYERS = {
    "crossvit": 2,
    "efficientformer": 2,
    "efficientformer_v2": 2,
    "efficientvim": 4,
    "levit": 2,
    "repvit": 2,
    "swiftformer": 2,
    "volo": 2,
}
"""The last layers of the smallest network of a family, where there are several."""


def _families() -> list[tuple[str, str]]:
    """For each of timm's families that a test can afford: its name, and the offered network with fewest parameters."""
    smallest: dict[str, tuple[int, str]] = {}
    for listing in timm_hub.list_backbones():
        assert listing.architecture is not None, "timm's are all known"
        family = timm.model_entrypoint(listing.architecture).__module__.removeprefix("timm.models.")
        if listing.parameters is not None and not listing.architecture.startswith("test_"):
            here = (listing.parameters, listing.architecture)
            smallest[family] = min(smallest.get(family, here), here)
    return sorted((family, name) for family, (parameters, name) in smallest.items() if parameters < 135e6)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # SAM's images have a million pixels
@pytest.mark.parametrize(("family", "name"), _families())
@torch.inference_mode()
def test_a_network_of_every_family_is_cut_in_its_graph(family: str, name: str) -> None:
    whole = network(name)
    feature_network = assert_delivers(whole, name, {}, whole.pretrained_cfg["input_size"][-1])
    assert feature_network.cut != "forward_head"
    assert len(feature_network.classifier.layers) == SEVERAL_LAYERS.get(family, 1)


@torch.inference_mode()
def test_what_cannot_be_traced_is_cut_before_its_classifier() -> None:
    whole = Wayward().eval()
    feature_network = cut_before_classifier(whole, (3, 16, 16), {})
    assert (feature_network.cut, feature_network.num_features) == ("forward_head", 6)
    image = torch.randn(3, 3, 16, 16)
    assert torch.equal(whole.head(feature_network.trunk(image)), whole(image))


class Cosine(nn.Module):
    """A network in timm's form whose logits are no linear function of anything: angles between vectors."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.head = nn.Linear(6, 3)

    def reset_classifier(self, num_classes: int) -> None:
        self.head = nn.Linear(6, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = nn.functional.normalize(self.head(self.stem(x).mean((2, 3))))
        return logits


@pytest.mark.parametrize("name", ["test_resnet", "levit_128s", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_surgery_leaves_its_argument_as_it_is(name: str) -> None:
    whole = network(name, **({"num_classes": 0, "depth": 1} if "vit_tiny" in name else {}))
    own, before = whole.state_dict(keep_vars=True), copy_state(whole)
    expected = whole(images(whole))
    feature_network = cut_before_classifier(whole, whole.pretrained_cfg["input_size"], {})
    after = whole.state_dict(keep_vars=True)
    assert after.keys() == own.keys()
    assert all(after[path] is own[path] and torch.equal(own[path], before[path]) for path in own)
    assert torch.equal(whole(images(whole)), expected)
    new = feature_network.network.state_dict(keep_vars=True)
    not_shared = {path.split(".")[0] for path in new if new[path] is not own.get(path)}
    assert not_shared == {"test_resnet": {"fc"}, "levit_128s": {"head", "head_dist"}}.get(name, {"head"})


def test_logits_that_are_not_linear_are_refused_by_name() -> None:
    with pytest.raises(ClassifierUnsupported, match="choose another"):
        cut_before_classifier(Cosine(), (3, 16, 16), {})


def test_a_classifier_without_a_bias_is_refused_by_name() -> None:
    whole = network("test_resnet")
    whole.fc = nn.Linear(96, 1000, bias=False)
    with pytest.raises(ClassifierUnsupported, match="choose another"):
        cut_before_classifier(whole, (3, 32, 32), {})


def test_an_encoder_that_takes_no_classifier_is_refused_by_name() -> None:
    with torch.device("meta"):
        encoder = timm.create_model("qwen3_vit_88m_enc")
    with pytest.raises(ClassifierUnsupported, match="no classifier"):
        cut_before_classifier(encoder, (3, 32, 32), {})


def test_a_size_that_the_network_does_not_take_is_refused_by_name() -> None:
    with pytest.raises(InputSizeUnsupported, match=r"64x64.*image_size"):
        cut_before_classifier(network("vit_tiny_patch16_224", depth=1), (3, 64, 64), {})


@torch.inference_mode()
def test_batch_norm_below_the_cut_never_moves() -> None:
    whole = network("test_resnet")
    feature_network = cut_before_classifier(whole, (3, 160, 160), {})
    before = {name: value.clone() for name, value in feature_network.trunk.state_dict().items()}
    enclosing = nn.Sequential(feature_network.trunk).train()
    first = enclosing(images(whole))
    second = enclosing(images(whole))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in feature_network.trunk.state_dict().items())


def test_the_digest_depends_on_the_trunk_alone() -> None:
    def digest(of: Any, identity: dict[str, object]) -> str:
        return cut_before_classifier(of, (3, 160, 160), identity).digest

    plain = digest(network("test_resnet"), {})
    other_classifier = network("test_resnet")
    with torch.no_grad():
        other_classifier.fc.weight.add_(1.0)
    other_statistics = network("test_resnet")
    other_statistics.layer3[0].bn1.running_mean.add_(1e-3)
    assert digest(other_classifier, {}) == plain
    assert digest(other_statistics, {}) != plain
    assert digest(network("test_resnet"), {"model_args": {"global_pool": "max"}}) != plain


def test_the_digest_of_what_cannot_be_traced_leaves_out_the_classifier_and_nothing_else() -> None:
    def digest(changed: str) -> str:
        torch.manual_seed(0)
        whole = Wayward()
        with torch.no_grad():
            whole.get_parameter(changed).add_(1.0)
        return cut_before_classifier(whole, (3, 16, 16), {}).digest

    assert digest("head.weight") == digest("head.bias")
    assert digest("stem.head.weight") != digest("head.weight"), "a layer of the trunk with the classifier's name"
