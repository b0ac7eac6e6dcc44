"""Surgery against the uncut network: to the bit."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from models import surgery

SMALL = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout", "test_nfnet", "test_maxvit"]


def network(name: str, **arguments: object) -> surgery.TimmNetwork:
    """A small network with random weights and BatchNorm statistics that are no identity."""
    torch.manual_seed(0)
    made = timm.create_model(name, **arguments).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return made


def pictures(of: surgery.TimmNetwork, count: int = 2) -> torch.Tensor:
    """Random input of the network's own size."""
    return torch.randn(count, *of.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
@torch.inference_mode()
def test_every_cut_parts_the_network_exactly(name: str) -> None:
    whole = network(name)
    traced = surgery.Traced.of(whole)
    expected = whole(pictures(whole))
    cuts = traced.cuts()
    assert len(cuts) > 15
    for cut in cuts:
        trunk, top = traced.part(cut)
        assert torch.equal(top(trunk(pictures(whole))), expected), traced.paths[cut]


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_a_cut_is_all_that_flows(name: str) -> None:
    """The liveness count against its definition: the top needs nothing of the picture but the cut."""
    whole = network(name)
    traced = surgery.Traced.of(whole)
    for cut in traced.cuts():
        _, top = traced.part(cut)
        needed = [node.name for node in top.graph.nodes if node.op == "placeholder" and not node.args]
        assert needed == ["features"], "all others have defaults"


def test_a_residual_block_is_not_cut_inside() -> None:
    traced = surgery.Traced.of(network("test_resnet"))
    paths = {traced.paths[cut] for cut in traced.cuts()}
    assert "layer1.0.conv1" not in paths, "the shortcut flows past it"
    assert any(path.startswith("layer1") for path in paths)


def test_parts_share_the_networks_parameters_under_its_names() -> None:
    whole = network("test_resnet")
    traced = surgery.Traced.of(whole)
    trunk, top = traced.part(traced.cuts()[8])
    own = dict(whole.named_parameters())
    parted = {**dict(trunk.named_parameters()), **dict(top.named_parameters())}
    assert parted.keys() == own.keys()
    assert all(parted[name] is own[name] for name in own)


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_pooled_features_and_a_new_classifier_make_the_whole_network(name: str) -> None:
    whole = network(name)
    pooled = surgery.pooled(whole, whole.pretrained_cfg["input_size"], {})
    features = pooled.trunk(pictures(whole))
    assert features.shape == (2, pooled.num_features)
    weight, bias = torch.randn(5, pooled.num_features), torch.randn(5)
    surgery.replace_classifier(whole, weight, bias)
    torch.testing.assert_close(whole(pictures(whole)), nn.functional.linear(features, weight, bias))
    again = timm.create_model(name, num_classes=5).eval()
    again.load_state_dict(whole.state_dict())
    assert torch.equal(again(pictures(whole)), whole(pictures(whole)))


@torch.inference_mode()
def test_a_network_without_a_classifier_gets_one() -> None:
    whole = network("test_vit", num_classes=0)
    expected = whole(pictures(whole))
    assert torch.equal(surgery.pooled(whole, (3, 160, 160), {}).trunk(pictures(whole)), expected)


class Wayward(nn.Module):
    """A network in timm's form whose way depends on its input."""

    num_classes = 7

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.head = nn.Linear(6, 7)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return x.relu() if x.sum() > 0 else x.tanh()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


@torch.inference_mode()
def test_what_cannot_be_traced_is_cut_before_its_classifier() -> None:
    whole = Wayward().eval()
    with pytest.raises(surgery.Untraceable):
        surgery.Traced.of(whole)
    pooled = surgery.pooled(whole, (3, 16, 16), {})
    assert (pooled.cut, pooled.num_features) == ("forward_head", 6)
    given = torch.randn(3, 3, 16, 16)
    assert torch.equal(whole.head(pooled.trunk(given)), whole(given))


def test_two_classifiers_are_refused_by_name() -> None:
    distilled = network("deit_tiny_distilled_patch16_224", depth=1)
    with pytest.raises(surgery.ClassifierUnsupported, match="without distillation"):
        surgery.pooled(distilled, (3, 224, 224), {})


def test_a_size_that_the_network_does_not_take_is_refused_by_name() -> None:
    with pytest.raises(surgery.InputSizeUnsupported, match=r"64x64.*image_size"):
        surgery.pooled(network("vit_tiny_patch16_224", depth=1), (3, 64, 64), {})


@torch.inference_mode()
def test_batch_norm_below_the_cut_never_moves() -> None:
    whole = network("test_resnet")
    pooled = surgery.pooled(whole, (3, 160, 160), {})
    before = {name: value.clone() for name, value in pooled.trunk.state_dict().items()}
    enclosing = nn.Sequential(pooled.trunk).train()
    first = enclosing(pictures(whole))
    second = enclosing(pictures(whole))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in pooled.trunk.state_dict().items())


def test_the_digest_depends_on_the_trunk_alone() -> None:
    def digest(of: surgery.TimmNetwork, identity: dict[str, object]) -> str:
        return surgery.pooled(of, (3, 160, 160), identity).digest

    plain = digest(network("test_resnet"), {})
    other_classifier = network("test_resnet")
    with torch.no_grad():
        other_classifier.fc.weight.add_(1.0)
    other_statistics = network("test_resnet")
    other_statistics.layer3[0].bn1.running_mean.add_(1e-3)
    assert digest(other_classifier, {}) == plain
    assert digest(other_statistics, {}) != plain
    assert digest(network("test_resnet"), {"model_args": {"global_pool": "max"}}) != plain


def _families() -> list[str]:
    """The network with the fewest parameters of each of timm's families that a test can afford."""
    from models.backbones.timm_hub import _parameters

    smallest: dict[str, tuple[int, str]] = {}
    for name in timm.list_models(exclude_filters=["test_*", "*_in21k*"]):
        family = timm.model_entrypoint(name).__module__
        parameters = _parameters().get(name)
        if parameters is not None and parameters < 40e6:
            smallest[family] = min(smallest.get(family, (parameters, name)), (parameters, name))
    return sorted(name for _, name in smallest.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", _families())
@torch.inference_mode()
def test_a_network_of_every_family_is_cut(name: str) -> None:
    whole = network(name)
    given = pictures(whole, 1)
    try:
        pooled = surgery.pooled(whole, tuple(given.shape[1:]), {})
    except surgery.ClassifierUnsupported:
        assert not isinstance(whole.get_classifier(), nn.Linear), "one linear layer must do"
        return
    expected = whole(given)
    classifier = whole.get_classifier()
    weight = classifier.weight.flatten(1)
    torch.testing.assert_close(nn.functional.linear(pooled.trunk(given), weight, classifier.bias), expected)
    try:
        traced = surgery.Traced.of(whole)
    except surgery.Untraceable:
        return
    cuts = traced.cuts()
    trunk, top = traced.part(cuts[len(cuts) // 2])
    assert torch.equal(top(trunk(given)), expected)
