"""Heads: their layers, what they compute, and how a recipe spells them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from models.catalog.activations import ELU, ReLU, Tanh
from models.catalog.heads import MLP, Cosine, Head, Keep, Layer, Linear
from models.catalog.initializers import GlorotUniform, HeNormal, HeUniform, Orthogonal
from models.catalog.normalizations import BatchNorm, LayerNorm
from models.catalog.technique import members

if TYPE_CHECKING:
    from models.nn.head import HeadModule

every_head = pytest.mark.parametrize("technique", members(Head))


def of_json(given: Any) -> Any:
    """A head as a recipe spells it."""
    head: TypeAdapter[Any] = TypeAdapter(Head)
    return head.validate_python(given)


def built(head: Any, num_features: int = 20, num_classes: int = 3) -> HeadModule:
    """The layers."""
    torch.manual_seed(0)
    made: HeadModule = head.resolve(num_features, num_classes).build(num_features, num_classes)
    return made


def dense(network: HeadModule) -> list[nn.Linear]:
    """The layers with weights."""
    return [module for module in network.layers if isinstance(module, nn.Linear)]


@every_head
def test_turns_features_into_a_logit_for_each_class(technique: type[Any]) -> None:
    assert built(technique(), 20, 3)(torch.randn(5, 20)).shape == (5, 3)


@every_head
def test_drops_the_share_of_features_that_it_says_in_training_alone(technique: type[Any]) -> None:
    first = built(technique(dropout=0.3), 1000).dropout
    dropped = first.train()(torch.ones(200, 1000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert first.eval()(torch.ones(2, 1000)).tolist() == [[1.0] * 1000] * 2


@every_head
def test_learns_what_can_be_learned(technique: type[Any]) -> None:
    head = built(technique(dropout=0.0))
    x = torch.randn(60, 20)
    labels = x[:, :3].argmax(1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (head(x).argmax(1) == labels).float().mean().item() > 0.95


@pytest.mark.parametrize("head", [Linear(dropout=0.0), Keep(dropout=0.0)])
def test_linear_and_keep_are_affine_and_start_at_zero(head: Linear | Keep) -> None:
    network, x = built(head), torch.randn(5, 20)
    assert network(x).abs().max() == 0
    (layer,) = dense(network)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    torch.testing.assert_close(network(x), x @ layer.weight.T + layer.bias)


def test_cosine_logits_are_the_scale_times_cosines() -> None:
    network, x = built(Cosine(scale=7.0, dropout=0.0)), 5 * torch.randn(6, 20)
    (layer,) = dense(network)
    expected = 7.0 * nn.functional.cosine_similarity(x[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(1000 * x), expected, rtol=1e-5, atol=1e-5)
    aligned = network(layer.weight)
    assert aligned.diagonal().tolist() == pytest.approx([7.0] * 3, rel=1e-5)
    assert aligned.abs().max().item() <= 7.0 + 1e-4


def test_cosine_weights_keep_their_length_when_they_learn() -> None:
    network = built(Cosine(scale=7.0))
    (layer,) = dense(network)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    nn.functional.cross_entropy(network(torch.randn(6, 20)), torch.tensor([0, 1, 2, 0, 1, 2])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert not torch.equal(layer.weight, before)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.full((3,), 7.0 / math.sqrt(20)))


def test_cosine_of_nothing_is_zero() -> None:
    assert built(Cosine())(torch.zeros(2, 20)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("count", "features", "classes", "widths"),
    [
        (1, 1280, 5, [80]),
        (2, 1000, 1, [100, 10]),
        (3, 160, 10, [80, 40, 20]),
        (2, 3, 50, [50, 50]),
    ],
)
def test_automatic_widths_are_a_geometric_pyramid(count: int, features: int, classes: int, widths: list[int]) -> None:
    """With n hidden layers each is (classes / features)^(1/(n + 1)) times as wide as the one below."""
    resolved = MLP(hidden=(Layer(),) * count).resolve(features, classes)
    assert [layer.width for layer in resolved.hidden] == widths
    network = resolved.build(features, classes)
    assert [layer.out_features for layer in dense(network)] == [*widths, classes]


def test_a_width_that_is_given_is_kept_among_automatic_ones() -> None:
    resolved = MLP(hidden=(Layer(), Layer(width=7), Layer())).resolve(160, 10)
    assert [layer.width for layer in resolved.hidden] == [80, 7, 20]


def test_an_mlp_is_its_formula() -> None:
    network, x = built(MLP(hidden=(8, 6), activation="tanh")).eval(), torch.randn(5, 20)
    one, two, last = dense(network)
    hidden = torch.tanh(torch.tanh(x @ one.weight.T + one.bias) @ two.weight.T + two.bias)
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)
    assert last.weight.abs().max().item() <= math.sqrt(6 / (6 + 3))
    assert all(layer.bias.abs().max() == 0 for layer in (one, two, last))


def test_each_layer_can_have_choices_of_its_own() -> None:
    head = of_json(
        {
            "kind": "mlp",
            "activation": "relu",
            "normalization": "batch_norm",
            "dropout": 0.1,
            "hidden": [
                64,
                {
                    "width": 32,
                    "activation": {"kind": "elu", "alpha": 0.5},
                    "initializer": "he_uniform",
                    "normalization": {"kind": "layer_norm", "place": "after_activation"},
                    "dropout": 0.5,
                },
                {"width": 16, "normalization": None, "activation": "tanh"},
            ],
        }
    )
    first, second, third = head.resolve(20, 3).hidden
    assert first == Layer(width=64, activation=ReLU(), initializer=HeNormal(), normalization=BatchNorm(), dropout=0.1)
    assert second == Layer(
        width=32,
        activation=ELU(alpha=0.5),
        initializer=HeUniform(),
        normalization=LayerNorm(place="after_activation"),
        dropout=0.5,
    )
    assert third == Layer(width=16, activation=Tanh(), initializer=GlorotUniform(), normalization=None, dropout=0.1)
    assert [type(module).__name__ for module in built(head).layers] == [
        *("Dropout", "Linear", "BatchNorm1d", "ReLU"),
        *("Dropout", "Linear", "ELU", "LayerNorm"),
        *("Dropout", "Linear", "Tanh"),
        *("Dropout", "Linear"),
    ]
    assert [module.p for module in built(head).layers if isinstance(module, nn.Dropout)] == [0.1, 0.1, 0.5, 0.1]


def test_an_initializer_of_all_layers_is_every_layers() -> None:
    head = of_json({"kind": "mlp", "initializer": "orthogonal", "hidden": [8, {"width": 8, "initializer": "auto"}]})
    first, second = head.resolve(20, 3).hidden
    assert (first.initializer, second.initializer) == (Orthogonal(), HeNormal())


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("mlp", {"kind": "mlp", "hidden": [{"width": "auto"}]}),
        ({"kind": "mlp", "hidden": [64]}, {"kind": "mlp", "hidden": [{"width": 64}]}),
        ({"dropout": 0.5}, {"kind": "linear", "dropout": 0.5}),
        ({"kind": "mlp", "activation": "relu"}, {"kind": "mlp", "activation": {"kind": "relu"}}),
        (
            {"kind": "mlp", "activation": {"slope": 0.5, "kind": "leaky_relu"}},
            {"kind": "mlp", "activation": {"kind": "leaky_relu", "slope": 0.5}},
        ),
    ],
)
def test_short_forms_say_the_same(short: Any, long: Any) -> None:
    assert of_json(short) == of_json(long)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "mlp", "hidden": []},
        {"kind": "mlp", "hidden": [0]},
        {"kind": "mlp", "hidden": [8] * 65},
        {"kind": "mlp", "hidden": ["wide"]},
        {"hidden": [8]},
    ],
)
def test_hidden_layers_that_cannot_be_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        of_json(given)
