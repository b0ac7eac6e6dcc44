"""The trainable model in real steps on images: which parameters move, at which rates, and the merged network."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from models.backbones.backbone import Backbone
from models.backbones.pretrained_classifier import select_classes
from models.catalog.recipe import Recipe, ResolvedRecipe
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.features.standardization import Standardization
from models.networks.cut_network import CutNetwork, cut_at
from models.networks.feature_network import cut_before_classifier
from models.nn.head import HeadModule
from models.pipeline.merge_head import HeadSlot, describe_replaced, find_head_slot, merge_head, to_plain_layers
from models.training.trainable_model import TrainableModel
from tests.support.networks import changed_names, copy_state, given, network, norm_names, randomize_norms, rebuild
from tests.support.small_pack import PREPROCESSING, small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.features.sources import FeatureSource

CLASSES = ["n01440764", "n01443537", "n01484850"]
SIZE = (3, 32, 32)


@dataclass
class Prepared:
    """A network ready to be trained on a few images."""

    whole: Any
    cut_network: CutNetwork
    source: FeatureSource
    images: np.ndarray
    recipe: ResolvedRecipe
    model: TrainableModel
    slot: HeadSlot

    def epoch(self, optimizer: torch.optim.Optimizer, number: int) -> None:
        """Two steps, as training takes them."""
        self.model.start_epoch(self.recipe, number)
        for picked, rows in self.source.read_batches(self.images, 0, 6):
            logits = self.model(self.source.forward_trunk(self.source.to_input(rows)))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(self.source.pack.labels[picked]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.model.eval()


def prepared(folder: Path, cut: Any, name: str = "test_resnet", **choices: Any) -> Prepared:
    """The network with what a recipe says of it."""
    pack = small_pack(folder, classes=3, each=4)
    recipe = Recipe.model_validate(
        {"cut": cut, "batch_size": 6, "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}, **choices}
    )
    whole = randomize_norms(network(name))
    backbone = Backbone.from_network(name, name, {}, {}, whole)
    kept = select_classes(backbone, CLASSES) if recipe.head.kind == "keep" else None
    feature_network = cut_before_classifier(whole, SIZE, {})
    resolved = recipe.resolve(
        task="single_label",
        image_size=SIZE[1],
        num_features=feature_network.num_features,
        class_counts=dict.fromkeys(CLASSES, 4),
        images=12,
    )
    cut_network = cut_at(feature_network, resolved.cut)
    slot = find_head_slot(feature_network, resolved.head, [])
    cache = None if resolved.cut.kind == "none" else FeatureCache(folder / "cache")
    extractor = Extractor(cut_network, replace(PREPROCESSING, input_size=SIZE), torch.device("cpu"), cache)
    source = extractor.open_source(pack, [])
    images = np.arange(12)
    model = TrainableModel.from_recipe(resolved, 3, cut_network, source, images, kept and (kept.weight, kept.bias))
    return Prepared(feature_network.network, cut_network, source, images, resolved, model, slot)


@pytest.mark.parametrize(
    ("cut", "stages"),
    [
        ({"kind": "all"}, []),
        ({"kind": "top", "stages": 2, "lr_scale": 0.5, "lr_decay": 0.3}, ["layer4", "layer3"]),
        ({"kind": "gradual", "stages": 3, "lr_scale": 2.0, "lr_decay": 0.9}, ["layer4", "layer3", "layer2"]),
        ({"kind": "none", "lr_decay": 1.0}, ["layer4", "layer3", "layer2", "layer1", "conv1"]),
    ],
)
def test_each_stage_has_a_rate_of_its_own(tmp_path: Path, cut: Any, stages: list[str]) -> None:
    made = prepared(tmp_path, cut)
    head, *groups = made.model.parameter_groups(made.recipe)
    assert head == {"params": list(made.model.head.parameters()), "lr": 0.01}
    names = {id(parameter): name for name, parameter in made.whole.named_parameters()}
    assert [{names[id(parameter)].split(".")[0] for parameter in group["params"]} for group in groups] == [
        {stage, "bn1"} if stage == "conv1" else {stage} for stage in stages
    ]
    scale, decay = cut.get("lr_scale", 0.1), cut.get("lr_decay", 0.75)
    assert [group["lr"] for group in groups] == [0.01 * scale * decay**depth for depth in range(len(stages))]
    everything = [id(parameter) for group in (head, *groups) for parameter in group["params"]]
    assert len(everything) == len(set(everything))
    assert not {id(made.whole.fc.weight), id(made.whole.fc.bias)} & set(everything), "the old classifier is in none"
    made.recipe.optimizer.build([head, *groups])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("cut", ["all", {"kind": "top", "stages": 2}, "none"])
def test_what_is_trained_computes_in_the_precision_of_the_recipe(tmp_path: Path, cut: Any, precision: str) -> None:
    made = prepared(tmp_path, cut, precision=precision)
    _, rows = next(made.source.read_batches(made.images, 0, 12))
    given = made.source.forward_trunk(made.source.to_input(rows))
    made.model.start_epoch(made.recipe, 1)
    heard: set[torch.dtype] = set()
    for module in made.model.top.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: heard.add(output.dtype))
    features = made.model.forward_features(given)
    assert features.dtype == torch.float32
    if cut == "all":
        assert heard == set()
    else:
        assert heard == {getattr(torch, precision)}
        made.model.head(features).square().sum().backward()
        learning = [parameter for parameter in made.model.parameters() if parameter.grad is not None]
        assert len(learning) > 4
        assert {parameter.dtype for parameter in learning} == {torch.float32}
        assert {parameter.grad.dtype for parameter in learning if parameter.grad is not None} == {torch.float32}
    plain = made.model.standardize(made.model.top(given))
    tolerance = 0.15 if precision == "bfloat16" else 1e-4
    assert (features - plain).abs().max() <= tolerance * plain.abs().max()


CUTS: list[Any] = [
    ({"kind": "all"}, [set(), set(), set()]),
    ({"kind": "stage", "name": "layer3"}, [{"layer4"}] * 3),
    ({"kind": "top", "stages": 2}, [{"layer3", "layer4"}] * 3),
    ({"kind": "gradual", "stages": 2, "every": 1}, [set(), {"layer4"}, {"layer3", "layer4"}]),
    ({"kind": "none"}, [{"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}] * 3),
]
"""A cut, and what of the network moves in the first three epochs."""


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
@pytest.mark.parametrize(("cut", "moving"), CUTS, ids=[row[0]["kind"] for row in CUTS])
def test_what_learns_moves_and_nothing_else(tmp_path: Path, cut: Any, moving: list[set[str]], batch_norm: str) -> None:
    norms = {} if cut["kind"] == "all" else {"batch_norm": batch_norm}
    made = prepared(tmp_path, {**cut, **norms})
    optimizer = made.recipe.optimizer.build(made.model.parameter_groups(made.recipe))
    for number, stages in enumerate(moving, start=1):
        before, head = copy_state(made.whole), copy_state(made.model.head)
        made.epoch(optimizer, number)
        learning = {name for name in before if name.split(".")[0] in stages}
        if batch_norm == "frozen":
            learning -= norm_names(made.whole)
        assert changed_names(made.whole, before) == learning
        assert changed_names(made.model.head, head) == head.keys()


HEADS = ["linear", "keep", "cosine", {"kind": "mlp", "normalization": "batch_norm"}]


@pytest.mark.parametrize("head", HEADS, ids=["linear", "keep", "cosine", "mlp"])
@pytest.mark.parametrize("cut", ["all", {"kind": "top", "batch_norm": "trained"}, "none"], ids=["all", "top", "none"])
def test_what_was_trained_is_delivered_under_timms_names(tmp_path: Path, cut: Any, head: Any) -> None:
    made = prepared(tmp_path, cut, head=head)
    optimizer = made.recipe.optimizer.build(made.model.parameter_groups(made.recipe))
    for number in (1, 2):
        made.epoch(optimizer, number)
    best = made.model.copy_state()
    made.epoch(optimizer, 3)
    made.model.load_state_dict(best)
    image = given(SIZE, count=3)
    with torch.no_grad():
        rows = image if made.cut_network.trunk is None else made.cut_network.trunk(image)
        meant = made.model.eval()(rows)
        merge_head(made.slot, to_plain_layers(made.model))
        again = timm.create_model("test_resnet", num_classes=3)
        again = rebuild(again, json.dumps(describe_replaced(made.slot)), made.whole.state_dict())
        torch.testing.assert_close(again(image), meant, atol=1e-4, rtol=1e-4)


def test_a_kept_classifier_says_before_training_what_the_backbone_says(tmp_path: Path) -> None:
    made = prepared(tmp_path, "all", head="keep")
    image = given(SIZE, count=5)
    with torch.no_grad():
        expected = randomize_norms(network("test_resnet"))(image)[:, [0, 1, 2]]
        assert made.cut_network.trunk is not None
        logits = made.model.eval()(made.cut_network.trunk(image))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_features_are_standardized_over_the_plain_views(tmp_path: Path) -> None:
    made = prepared(tmp_path, {"kind": "top"})
    sample = made.model.compute_features(made.source, made.images)
    assert sample.shape == (12, 96)
    assert not sample.is_inference()
    torch.testing.assert_close(sample.mean(0), torch.zeros(96), atol=1e-3, rtol=0)
    spread = sample.std(0, correction=0)
    torch.testing.assert_close(spread[spread > 0.5], torch.ones(int((spread > 0.5).sum())), atol=1e-3, rtol=0)
    rows = torch.from_numpy(made.source.read_all(made.images, 0)).float()  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(made.model.forward_features(rows), sample)


@pytest.mark.parametrize(
    ("cut", "head", "needs"),
    [
        ({"kind": "top", "batch_norm": "trained"}, "linear", True),
        ({"kind": "top", "batch_norm": "frozen"}, "linear", False),
        ("all", {"kind": "mlp", "normalization": "batch_norm"}, True),
        ("all", {"kind": "mlp", "normalization": "layer_norm"}, False),
    ],
)
def test_one_image_is_too_few_where_batch_norm_learns(tmp_path: Path, cut: Any, head: Any, needs: bool) -> None:
    made = prepared(tmp_path, cut, head=head)
    made.model.start_epoch(made.recipe, 1)
    assert made.model.needs_two == needs
    rows = torch.from_numpy(made.source.read_all(made.images[:1], 0)).float()  # type: ignore[union-attr]
    before = made.model.copy_state()
    modes = [module.training for module in made.model.modules()]
    with made.model.evaluating(), torch.no_grad():
        assert made.model(rows).shape == (1, 3)
    assert [module.training for module in made.model.modules()] == modes
    assert changed_names(made.model, before) == set()
    if needs:
        with pytest.raises(ValueError, match="more than 1 value"):
            made.model(rows)


def test_only_weights_of_the_head_are_kept_small(tmp_path: Path) -> None:
    made = prepared(tmp_path, {"kind": "top"}, head={"kind": "mlp", "hidden": [5], "normalization": "batch_norm"})
    assert [tuple(weight.shape) for weight in made.model.regularized_weights] == [(5, 96), (3, 5)]


def test_where_nothing_of_the_backbone_is_trained_the_head_stays_on_the_processor() -> None:
    standardize = Standardization(torch.zeros(4), torch.ones(4))
    model = TrainableModel(
        CutNetwork(None, nn.Identity(), "", (4,), ""), HeadModule(nn.Dropout(), nn.Linear(4, 2)), standardize
    )
    assert model.device == torch.device("cpu")
    assert not model.needs_two
