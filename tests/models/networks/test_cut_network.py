"""Cut networks against uncut ones: the same features; frozen stages never change, trained ones do."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from torch import nn

from models.catalog.cuts import All, CandidateCut, Fraction, Gradual, Nothing, Stage, Top, assign_stages, find_stages
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.cut_network import CutNetwork, CutUnsupported, cut_at
from models.networks.feature_network import cut_before_classifier
from tests.support.networks import (
    Wayward,
    changed_names,
    copy_state,
    given,
    network,
    norm_names,
    randomize_norms,
    small_clip,
)

if TYPE_CHECKING:
    from models.catalog.cuts import Cut
    from models.networks.feature_network import FeatureNetwork
SIDES = {"test_vit": 160, "levit_128s": 64, "tiny_vit_5m_224": 64, "crossvit_tiny_240": 240, "clip": 64, "wayward": 16}
"""Where it is not 32."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 3},
    "vit_small_patch16_dinov3": {"embed_dim": 48, "num_heads": 2, "depth": 3},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 2},
    "convnext_atto": {"depths": (1, 1, 1, 1)},
    "densenet121": {"growth_rate": 8, "block_config": (2, 2, 2, 2)},
    "levit_128s": {"img_size": 64},
}


def made(name: str) -> Any:
    """Make a small network."""
    if name == "clip":
        return small_clip()
    if name == "wayward":
        torch.manual_seed(0)
        return Wayward().eval()
    return randomize_norms(network(name, **ARGUMENTS.get(name, {})))


def size(name: str) -> tuple[int, int, int]:
    """Return the size of its images."""
    return (3, SIDES.get(name, 32), SIDES.get(name, 32))


@cache
def shared(name: str) -> FeatureNetwork:
    """Cut a network before its classifier, for tests that change nothing of it."""
    return cut_before_classifier(made(name), size(name), {"architecture": name})


def cut_shared(name: str, cut: Cut, to_train: bool = False) -> tuple[Any, FeatureNetwork, CutNetwork]:
    """Cut a network before its classifier and at a cut."""
    feature_network = shared.__wrapped__(name) if to_train else shared(name)
    return feature_network.network, feature_network, cut_at(feature_network, cut)


def trained(cut_network: CutNetwork) -> dict[str, nn.Parameter]:
    """Collect the parameters that are trained in the end, by name."""
    return {name: parameter for stage in cut_network.stages for name, parameter in stage.parameters.items()}


TOP = {
    "test_resnet": (["layer4", "layer3"], "layer2.0.act2"),
    "test_vit": (["blocks.5", "blocks.4"], "blocks.3.add_1"),
    "test_efficientnet": (["conv_head", "blocks.4"], "blocks.3.0.bn3"),
    "test_mambaout": (["head", "stages.3"], "stages.2.blocks.2.add"),
    "convnext_atto": (["stages.3", "stages.2"], "stages.1.blocks.0.add"),
    "resnetv2_18": (["stages.3", "stages.2"], "stages.1.blocks.1.add"),
    "mobilenetv3_small_050": (["conv_head", "blocks.5"], "blocks.4.2.add"),
    "vit_tiny_patch16_224": (["blocks.2", "blocks.1"], "blocks.0.add_1"),
    "deit_tiny_distilled_patch16_224": (["blocks.1", "blocks.0"], "norm_pre"),
    "levit_128s": (["stages.2", "stages.1"], "stages.0.blocks.1.add_1"),
    "clip": (["head", "stages.3"], "stages.2.0.act"),
}
"""The two topmost stages of a network, and the cut below them."""
CUTS = [Top(stages=1), Top(stages=2), Fraction(frozen=0.5), Gradual(stages=2), Nothing()]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{cut.kind}_{getattr(cut, 'stages', '')}")
@pytest.mark.parametrize("name", TOP)
@torch.no_grad()
def test_the_top_on_the_trunk_gives_the_features_of_the_whole_to_the_bit(name: str, cut: Cut) -> None:
    _, feature_network, cut_network = cut_shared(name, cut)
    image = given(size(name), count=3)
    rows = image if cut_network.trunk is None else cut_network.trunk(image)
    assert rows.shape[1:] == cut_network.shape
    assert torch.equal(cut_network.top(rows), feature_network.trunk(image))


@pytest.mark.parametrize("name", TOP)
def test_the_top_stages_are_trained_and_what_is_below_them_is_frozen(name: str) -> None:
    whole, feature_network, cut_network = cut_shared(name, Top(stages=2))
    assert ([stage.name for stage in cut_network.stages], cut_network.cut) == TOP[name]
    own = {path: id(parameter) for path, parameter in whole.named_parameters()}
    above = trained(cut_network)
    assert all(own[path] == id(parameter) for path, parameter in above.items()), "they are the network's own"
    below = {id(parameter) for parameter in cut_network.trunk.parameters()}
    parts = [below, {id(parameter) for parameter in above.values()}, feature_network.tail.collect_output_parameters()]
    assert sum(map(len, parts)) == len(own)
    assert set().union(*parts) == set(own.values()), "each parameter is in one part"
    assert 0 < cut_network.share_above < 1


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "deit_tiny_distilled_patch16_224", "clip", "wayward"])
def test_where_nothing_is_frozen_all_is_trained_but_the_old_classifier(name: str) -> None:
    whole, feature_network, cut_network = cut_shared(name, Nothing())
    own = {
        path
        for path, value in whole.named_parameters()
        if id(value) not in feature_network.tail.collect_output_parameters()
    }
    assert sorted(trained(cut_network)) == sorted(own)
    assert (cut_network.trunk, cut_network.cut, cut_network.shape, cut_network.share_above) == (
        None,
        "image",
        size(name),
        1.0,
    )


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_class_token_and_positions_are_of_the_lowest_stage(name: str) -> None:
    _, _, whole = cut_shared(name, Nothing())
    assert whole.stages[-1].name == "patch_embed"
    assert {"cls_token", "pos_embed"} <= whole.stages[-1].parameters.keys()
    _, _, part = cut_shared(name, Stage(name="patch_embed"))
    assert not {"cls_token", "pos_embed"} & trained(part).keys()


def test_norms_after_all_stages_are_of_the_topmost_and_those_inside_of_their_own() -> None:
    _, _, cut_network = cut_shared("convnext_atto", Top(stages=1))
    (stage,) = cut_network.stages
    assert {"head.norm.weight", "stages.3.downsample.0.weight"} <= stage.parameters.keys()
    _, _, cut_network = cut_shared("test_vit", Top(stages=1))
    assert "norm.weight" in cut_network.stages[0].parameters


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "deit_tiny_distilled_patch16_224", "levit_128s", "clip"])
def test_fractions_are_of_all_multiply_adds(name: str) -> None:
    feature_network = shared(name)
    found = list_candidate_cuts(feature_network)
    costs = [candidate.multiply_adds_below for candidate in found]
    assert costs == sorted(costs)
    assert found[-1].name == feature_network.cut
    for share in (0.3, 0.6, 0.9):
        cut_network = cut_at(feature_network, Fraction(frozen=share))
        frozen = max((cost for cost in costs if cost <= share * costs[-1]), default=0)
        assert cut_network.share_above == pytest.approx(1 - frozen / costs[-1])
    assert cut_at(feature_network, Fraction(frozen=1.0)).trunk is feature_network.trunk


@pytest.mark.parametrize("stage", ["layer4", "global_pool", "layer4.0.act2"])
def test_with_nothing_to_train_above_it_the_cut_is_before_the_classifier(stage: str) -> None:
    _, feature_network, cut_network = cut_shared("test_resnet", Stage(name=stage))
    assert (cut_network.cut, cut_network.shape, cut_network.stages) == ("global_pool.flatten", (96,), ())
    assert cut_network.trunk is feature_network.trunk
    assert cut_network.digest == cut_shared("test_resnet", All())[2].digest


def test_cuts_have_digests_of_their_own() -> None:
    cuts = [All(), Top(stages=1), Top(stages=2), Stage(name="bn1"), Stage(name="conv1")]
    assert len({cut_shared("test_resnet", cut)[2].digest for cut in cuts}) == len(cuts)


def test_a_network_in_one_piece_is_trained_whole_or_not_at_all() -> None:
    for name in ("wayward", "crossvit_tiny_240"):
        for cut in (Top(stages=1), Stage(name="blocks.0"), Gradual()):
            with pytest.raises(CutUnsupported, match=r"This backbone has (1 stages|no stage)"):
                cut_shared(name, cut)
    _, feature_network, cut_network = cut_shared("wayward", Nothing())
    assert [stage.name for stage in cut_network.stages] == ["forward_head"]
    image = given(size("wayward"))
    assert torch.equal(cut_network.top(image), feature_network.trunk(image))
    assert cut_shared("wayward", All())[2].cut == "forward_head"


def test_stages_of_real_networks() -> None:
    def names(name: str) -> list[str]:
        return list(find_stages(list_candidate_cuts(shared(name))))

    assert names("resnet18") == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert names("mobilenetv2_050") == ["conv_stem", *(f"blocks.{number}" for number in range(7)), "conv_head"]
    assert names("vit_tiny_patch16_224") == ["patch_embed", "blocks.0", "blocks.1", "blocks.2"]
    assert names("levit_128s") == ["stem", "stages.0", "stages.1", "stages.2"]
    assert names("clip") == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]


class Tied(nn.Module):
    """A network in timm's form that goes through one layer twice."""

    num_classes = 7

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.last = nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 7)

    def reset_classifier(self, num_classes: int) -> None:
        self.head = nn.Linear(6, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.last(self.shared(self.shared(self.stem(x)).relu()).relu())
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def test_what_the_trunk_uses_as_well_is_not_trained() -> None:
    feature_network = cut_before_classifier(Tied(), (3, 16, 16), {})
    cut_network = cut_at(feature_network, Stage(name="relu"))
    assert list(trained(cut_network)) == ["last.weight", "last.bias"]
    cut_network.set_modes(9, norms_train=True)
    assert not any(parameter.requires_grad for parameter in cut_network.trunk.parameters())


def taught(cut_network: CutNetwork, of: tuple[int, int, int], unfrozen: int, norms_train: bool) -> None:
    """A few steps of an optimizer that decays weights too."""
    cut_network.set_modes(unfrozen, norms_train)
    optimizer = torch.optim.AdamW(list(trained(cut_network).values()), lr=1e-2, weight_decay=0.5)
    for number in range(3):
        image = torch.randn(4, *of, generator=torch.Generator().manual_seed(number))
        features = cut_network.top(cut_network.trunk(image) if cut_network.trunk else image)
        optimizer.zero_grad(set_to_none=True)
        if features.requires_grad:
            (features * torch.randn(features.shape)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("norms_train", [False, True])
@pytest.mark.parametrize("cut", [All(), Top(stages=1), Top(stages=2), Stage(name="conv1"), Nothing()])
def test_what_is_frozen_stays_to_the_bit_and_what_is_trained_moves(cut: Cut, norms_train: bool) -> None:
    whole, _, cut_network = cut_shared("test_resnet", cut, to_train=True)
    before = copy_state(whole)
    if cut_network.stages:
        taught(cut_network, (3, 64, 64), len(cut_network.stages), norms_train)
    above = trained(cut_network).keys()
    norms = {path for path in norm_names(whole) if f"{path.rsplit('.', 1)[0]}.weight" in above}
    assert changed_names(whole, before) == (above | norms if norms_train else above - norms)


def test_stages_thaw_one_by_one_from_the_top() -> None:
    whole, _, cut_network = cut_shared("test_resnet", Gradual(stages=3), to_train=True)
    assert [stage.name for stage in cut_network.stages] == ["layer4", "layer3", "layer2"]
    for unfrozen in range(4):
        before = copy_state(whole)
        taught(cut_network, (3, 64, 64), unfrozen, norms_train=True)
        expected = {stage.name for stage in cut_network.stages[:unfrozen]}
        assert {name.split(".")[0] for name in changed_names(whole, before)} == expected
        assert {name.split(".")[0] for name, value in whole.named_parameters() if value.requires_grad} == expected


def test_what_is_trained_runs_as_in_evaluation() -> None:
    whole = network("test_vit", drop_rate=0.5, drop_path_rate=0.5, attn_drop_rate=0.5, proj_drop_rate=0.5)
    feature_network = cut_before_classifier(whole, (3, 160, 160), {})
    cut_network = cut_at(feature_network, Nothing())
    cut_network.top.train()
    cut_network.set_modes(9, norms_train=True)
    image = given((3, 160, 160))
    assert torch.equal(cut_network.top(image), cut_network.top(image))


@pytest.mark.parametrize("name", ["tiny_vit_5m_224", "efficientvit_m0", "efficientformerv2_s0"])
def test_attention_that_keeps_its_biases_in_evaluation_mode_learns_them(name: str) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, **({"img_size": 64} if "former" in name else {})).eval()
    feature_network = cut_before_classifier(whole, (3, 64, 64), {})
    cut_network = cut_at(feature_network, Nothing())
    with torch.inference_mode():
        cut_network.top(given((3, 64, 64)))
    whole = feature_network.network
    before = copy_state(whole)
    taught(cut_network, (3, 64, 64), 9, norms_train=True)
    assert changed_names(whole, before) >= {name for name in trained(cut_network) if name.endswith("attention_biases")}
    cut_network.top.eval()
    rebuilt = timm.create_model(name, num_classes=2, **({"img_size": 64} if "former" in name else {})).eval()
    rebuilt.load_state_dict(whole.state_dict())
    with torch.no_grad():
        features = cut_before_classifier(rebuilt, (3, 64, 64), {}).trunk(given((3, 64, 64)))
        torch.testing.assert_close(cut_network.top(given((3, 64, 64))), features)


def test_what_stands_amid_a_stage_counts_to_it() -> None:
    """Twins has its positions between the blocks of a stage, in a part of their own."""
    amid = [
        CandidateCut("a", "a", 1),
        CandidateCut("b.0", "b", 2),
        CandidateCut("c", "c", 3),
        CandidateCut("b.1", "b", 4),
        CandidateCut("n", "n", 4),
    ]
    assert assign_stages(amid) == ["a", "b", "b", "b", "b"]
    assert Top(stages=1).choose(amid) == "a"


def test_what_precedes_all_counts_to_the_lowest_stage() -> None:
    """CSATv2 begins with a cosine transform of fixed weights, which costs nothing."""
    assert assign_stages([CandidateCut("x", "x", 0), CandidateCut("a", "a", 1), CandidateCut("n", "n", 1)]) == [
        "a",
        "a",
        "a",
    ]
    assert assign_stages([CandidateCut("x", "x", 0), CandidateCut("y", "y", 0)]) == ["x", "x"]
