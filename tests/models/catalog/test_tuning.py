"""Tunings: which weights above the cut they train, how fast, that no others move, and that nothing is left to merge."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.catalog.cuts import All, Cut, Gradual, Nothing, Top
from models.catalog.recipe import Recipe
from models.catalog.tuning import BiasOnly, Full, LoRA, NormOnly, Tuning
from models.features.standardization import Standardization
from models.networks.cut_network import CutNetwork, TuningUnsupported, cut_at
from models.networks.feature_network import cut_before_classifier
from models.nn.head import HeadModule
from models.nn.low_rank import LowRankUpdate
from models.training.trainable_model import TrainableModel
from tests.support.graphs import from_network
from tests.support.networks import Wayward, changed_names, copy_state, given, network, randomize_norms

SIDES = {"test_vit": 160, "test_nfnet": 96, "wayward": 16}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32},
}
BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
SELECTED: dict[str, tuple[str, Any, set[str]]] = {
    "linear layers of a transformer": ("test_vit", LoRA(), {f"blocks.5.{layer}.weight" for layer in BLOCK}),
    "biases of a transformer": (
        "test_vit",
        BiasOnly(),
        {*(f"blocks.5.{layer}.bias" for layer in (*BLOCK, "norm1", "norm2")), "norm.bias"},
    ),
    "norms of a transformer": (
        "test_vit",
        NormOnly(),
        {f"{norm}.{own}" for norm in ("blocks.5.norm1", "blocks.5.norm2", "norm") for own in ("weight", "bias")},
    ),
    "a transformer that uses its weights as functions do": (
        "beit_base_patch16_224",
        LoRA(),
        {f"blocks.1.{layer}.weight" for layer in BLOCK},
    ),
    "its biases": (
        "beit_base_patch16_224",
        BiasOnly(),
        {
            *(f"blocks.1.{bias}" for bias in ("attn.q_bias", "attn.v_bias", "attn.proj.bias")),
            *(f"blocks.1.{layer}.bias" for layer in ("mlp.fc1", "mlp.fc2", "norm1", "norm2")),
            "fc_norm.bias",
        },
    ),
    "convolutions": (
        "test_resnet",
        LoRA(),
        {f"layer4.0.{layer}.weight" for layer in ("conv1", "conv2", "downsample.1")},
    ),
    "biases of convolutions": (
        "test_resnet",
        BiasOnly(),
        {f"layer4.0.{norm}.bias" for norm in ("bn1", "bn2", "downsample.2")},
    ),
    "norms of convolutions": (
        "test_resnet",
        NormOnly(),
        {f"layer4.0.{norm}.{own}" for norm in ("bn1", "bn2", "downsample.2") for own in ("weight", "bias")},
    ),
    "everything": (
        "test_resnet",
        Full(),
        {f"layer4.0.{layer}.weight" for layer in ("conv1", "conv2", "downsample.1")},
    ),
    "pointwise convolutions, not the depthwise one": (
        "mobilenetv3_small_050",
        LoRA(rank=4),
        {"conv_head.weight"},
    ),
    "a network without a graph": ("wayward", LoRA(rank=2), {"stem.weight", "stem.head.weight"}),
}
"""A network, a tuning, and the weights of its topmost stage that it trains."""


def build(name: str, cut: Cut, tuning: Tuning, whole: Any = None) -> tuple[Any, TrainableModel, Recipe]:
    """Build a network with a head of three classes, whose stages above a cut are tuned."""
    side = SIDES.get(name, 32)
    if whole is None:
        torch.manual_seed(0)
        made = Wayward().eval() if name == "wayward" else network(name, **ARGUMENTS.get(name, {}))
        whole = randomize_norms(made)
    feature_network = cut_before_classifier(whole, (3, side, side), {})
    cut_network = cut_at(feature_network, cut, tuning=tuning)
    recipe = Recipe(cut=cut, tuning=tuning, optimizer={"kind": "adam", "lr": 1e-3})  # type: ignore[arg-type]
    torch.manual_seed(1)
    updates = {
        name: update
        for stage in cut_network.stages
        for name, parameter in stage.parameters.items()
        if name not in stage.unselected and (update := tuning.build_update(parameter)) is not None
    }
    width = feature_network.num_features
    standardize = Standardization(torch.zeros(width), torch.ones(width))
    model = TrainableModel(cut_network, HeadModule(nn.Dropout(0.0), nn.Linear(width, 3)), standardize, updates)
    return feature_network.network, model, recipe


def compute_rows(cut_network: CutNetwork, side: int) -> torch.Tensor:
    """The values at the cut of a few random images."""
    images = given((3, side, side), 6)
    return images if cut_network.trunk is None else cut_network.trunk(images)


def train(model: TrainableModel, recipe: Recipe, side: int, steps: int = 3, epoch: int = 1) -> list[float]:
    """Train on a few images; gives the losses."""
    optimizer = model.build_optimizer(recipe)
    model.start_epoch(recipe, epoch)
    losses = []
    rows, labels = compute_rows(model.cut_network, side), torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(rows), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("case", SELECTED)
def test_what_a_tuning_selects_moves_and_nothing_else(case: str) -> None:
    name, tuning, expected = SELECTED[case]
    whole, model, recipe = build(name, Nothing() if name == "wayward" else Top(), tuning)
    side = SIDES.get(name, 32)
    before = copy_state(whole)
    losses = train(model, recipe, side)
    assert changed_names(whole, before) == expected
    assert losses[-1] < losses[0]
    if isinstance(tuning, LoRA):
        changes = [(whole.state_dict()[path] - before[path]).flatten(1).double() for path in expected]
        assert {int(torch.linalg.matrix_rank(change, rtol=1e-4)) for change in changes} == {tuning.rank}


@pytest.mark.parametrize("tuning", [Full(), LoRA(), BiasOnly(), NormOnly()], ids=lambda tuning: tuning.kind)
def test_the_first_output_is_the_pretrained_networks_to_the_bit(tuning: Tuning) -> None:
    expected, plain, _ = build("test_vit", Nothing(), Full())
    whole, model, recipe = build("test_vit", Nothing(), tuning)
    images = given((3, 160, 160))
    model.build_optimizer(recipe)
    with torch.no_grad():
        assert torch.equal(model.top(images), plain.top(images))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in expected.state_dict().items())


@pytest.mark.parametrize(
    ("name", "tuning"),
    [("test_vit", LoRA()), ("test_vit", BiasOnly()), ("test_vit", NormOnly()), ("test_nfnet", LoRA())],
)
def test_the_trained_network_is_a_plain_one_of_timm(name: str, tuning: Tuning) -> None:
    """Among them weight-standardized convolutions, whose output is not linear in their weight."""
    whole, model, recipe = build(name, Nothing(), tuning)
    side = SIDES.get(name, 32)
    train(model, recipe, side)
    plain = timm.create_model(name, num_classes=len(whole.get_classifier().weight)).eval()
    plain.load_state_dict(whole.state_dict(), strict=True)
    images = given((3, side, side))
    with torch.no_grad():
        features = plain.forward_head(plain.forward_features(images), pre_logits=True)
        torch.testing.assert_close(features.flatten(1), model.top(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tuning", [LoRA(lr_scale=7.0), BiasOnly(lr_scale=3.0), Full()], ids=lambda tuning: tuning.kind)
def test_each_stage_learns_at_the_rate_of_its_cut_times_that_of_its_tuning(tuning: Any) -> None:
    cut = Top(stages=2, lr_scale=0.5, lr_decay=0.25)
    _, model, recipe = build("test_resnet", cut, tuning)
    head, *groups = model.parameter_groups(recipe)
    assert head["lr"] == 1e-3
    assert [group["lr"] for group in groups] == pytest.approx([5e-4 * tuning.lr_scale, 1.25e-4 * tuning.lr_scale])
    if isinstance(tuning, LoRA):
        factors = {id(own) for update in model.low_rank for own in update.parameters()}
        assert factors <= {id(own) for group in groups for own in group["params"]}


def test_stages_that_are_unfrozen_later_have_no_update_before() -> None:
    whole, model, recipe = build("test_resnet", Gradual(stages=2, every=1), LoRA())
    for epoch, moving in enumerate([set[str](), {"layer4"}, {"layer4", "layer3"}], start=1):
        before = copy_state(whole)
        train(model, recipe, 32, epoch=epoch)
        assert {name.split(".")[0] for name in changed_names(whole, before)} == moving


@pytest.mark.parametrize("tuning", [LoRA(), BiasOnly(), NormOnly()], ids=lambda tuning: tuning.kind)
def test_batch_norm_is_trained_too_where_the_cut_says_so(tuning: Tuning) -> None:
    whole, model, recipe = build("test_resnet", Top(batch_norm="trained"), tuning)
    before = copy_state(whole)
    train(model, recipe, 32)
    owned = {f"layer4.0.{norm}.{own}" for norm in ("bn1", "bn2") for own in ("weight", "bias", "running_mean")}
    assert owned <= changed_names(whole, before)


def test_networks_of_other_origins_are_tuned_too() -> None:
    graph = from_network(randomize_norms(network("test_resnet")))
    whole, model, recipe = build("test_resnet", Top(), LoRA(), graph)
    before = copy_state(whole)
    train(model, recipe, 32)
    changed = changed_names(whole, before)
    assert len(changed) == 3
    assert all(whole.state_dict()[name].ndim == 4 for name in changed)


class Bare(nn.Module):
    """A network of one convolution, without biases and norms."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 4, 2, bias=False), nn.Linear(4, 4)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.fc(self.stem(images).relu().mean((2, 3)))
        return output


@pytest.mark.parametrize(
    ("tuning", "words"),
    [(BiasOnly(), "no bias"), (NormOnly(), "no norm with weights"), (LoRA(), "no weight of a linear layer or conv")],
    ids=lambda given: given if isinstance(given, str) else given.kind,
)
def test_a_network_with_nothing_to_tune_is_refused(tuning: Tuning, words: str) -> None:
    with pytest.raises(TuningUnsupported, match=f"This backbone has {words}.*set tuning to full"):
        build("bare", Nothing(), tuning, Bare().eval())


def test_without_stages_there_is_nothing_to_refuse() -> None:
    _, model, _ = build("test_resnet", All(), Full())
    assert model.updates == {}
    assert not list(model.low_rank.parameters())


def test_lora_scales_by_alpha_over_rank() -> None:
    weight = nn.Parameter(torch.randn(20, 30))
    update = LoRA(rank=4, alpha=10.0).build_update(weight)
    assert isinstance(update, LowRankUpdate)
    assert (update.scale, tuple(update.down.shape), tuple(update.up.shape)) == (2.5, (4, 30), (20, 4))
    layer = nn.Linear(30, 20)
    assert LoRA(rank=11).selects(layer, "weight")
    assert not LoRA(rank=12).selects(layer, "weight"), "12·(20 + 30) = 20·30: no fewer numbers than the weight has"
    assert not LoRA().selects(layer, "bias")
