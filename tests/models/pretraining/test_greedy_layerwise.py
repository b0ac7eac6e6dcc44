"""Layer by layer: who learns when, and from what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from models.catalog.heads import MLP, Linear
from models.nn.head import HiddenLayer
from models.nn.layers import Dropout
from models.pretraining.greedy_layerwise import Fit, LayerTask, fit_layers
from models.pretraining.pretrain import pretrain
from models.training.loop import TrainingDiverged
from tests.support.oriented_images import deep, oriented_pack, prepared, shallow

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

SIGMOID = {"kind": "mlp", "hidden": [8, 6], "activation": "sigmoid"}
KINDS = pytest.mark.parametrize("kind", ["autoencoder", "restricted_boltzmann_machine"])


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """60 images."""
    return oriented_pack(tmp_path, 30)


def copies(layers: list[nn.Linear]) -> list[torch.Tensor]:
    return [layer.weight.detach().clone() for layer in layers]


def is_same(before: list[torch.Tensor], after: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(before, after, strict=True)]


def test_a_hidden_layer_is_its_linear_its_activation_and_its_norm() -> None:
    head = MLP(hidden=(5, 4), normalization="batch_norm").resolve(7, 3).build(7, 3)
    layers = head.hidden_layers
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, Dropout]
    assert [[type(module) for module in layer.layers] for layer in layers] == [kinds, kinds]
    assert [layer.linear.in_features for layer in layers] == [7, 5]
    assert Linear().build(7, 3).hidden_layers == []


@KINDS
def test_layers_learn_one_after_another_and_the_output_never(kind: str, pack: Pack, tmp_path: Path) -> None:
    run, model, material = prepared(pack, tmp_path, shallow(), head=SIGMOID, pretraining=kind)
    linears = [module for module in model.head.layers if isinstance(module, nn.Linear)]
    bias = linears[-1].bias.detach().clone()
    states, notes = [copies(linears)], []
    for event in pretrain(run, material):
        states.append(copies(linears))
        notes.append(event)
    assert [event.kind for event in notes] == ["pretraining"] * 3
    assert is_same(states[0], states[1]) == [True, True, True]
    assert is_same(states[1], states[2]) == [False, True, True]
    assert is_same(states[2], states[3]) == [True, False, True]
    assert torch.equal(linears[-1].bias, bias)
    assert [event.data["layer"] for event in notes[1:]] == ["hidden.0", "hidden.1"]
    assert notes[1].data["last_loss"] < notes[1].data["first_loss"]
    assert "hidden.0 is pretrained: its reconstruction error went from" in notes[1].message
    assert notes[0].data == {"pretraining": kind, "images": 60}
    assert not model.training


def test_each_layer_is_given_what_those_below_say_in_evaluation(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [8, 6], "normalization": "batch_norm"}
    run, model, material = prepared(pack, tmp_path, shallow(), head=head, pretraining="autoencoder")
    seen: list[LayerTask] = []

    def fit(task: LayerTask, batch_size: int) -> Fit:
        assert all(module.training for module in task.layer.layers)
        for rows in task.batches(batch_size):  # moves the running means
            task.layer.activate(rows)
        seen.append(task)
        return Fit([1.0])

    list(fit_layers(run, material, fit))
    features = model.compute_features(material.open_source(()), material.examples.images)
    torch.testing.assert_close(seen[0].inputs, features)
    torch.testing.assert_close(features.mean(0), torch.zeros(48), atol=1e-3, rtol=0)
    expected = seen[0].layer.eval().activate(features)
    torch.testing.assert_close(seen[1].inputs, expected)
    assert not seen[1].inputs.requires_grad
    assert [layer.is_first for layer in seen] == [True, False]


def test_batches_hold_everything_once_and_no_row_alone() -> None:
    layer = LayerTask(HiddenLayer(nn.Linear(1, 1), nn.ReLU(), nn.Dropout()), torch.arange(17.0)[:, None], is_first=True)
    batches = list(layer.batches(4))
    assert min(map(len, batches)) >= 4
    assert torch.equal(torch.cat(batches).flatten().sort().values, torch.arange(17.0))
    assert [len(rows) for rows in layer.batches(64)] == [17]


@KINDS
def test_stages_above_the_cut_stay_as_they_are(kind: str, pack: Pack, tmp_path: Path) -> None:
    run, model, material = prepared(pack, tmp_path, deep(), head=SIGMOID, pretraining=kind, cut="top")
    before = {name: value.clone() for name, value in model.top.state_dict().items()}
    *_, last = pretrain(run, material)
    assert last.data["last_loss"] < last.data["first_loss"]
    assert all(torch.equal(value, before[name]) for name, value in model.top.state_dict().items())


@KINDS
def test_a_rate_that_is_too_large_is_said_by_name(kind: str, pack: Pack, tmp_path: Path) -> None:
    chosen = {"kind": kind, "lr": 1e30, "epochs": 3}
    head = {**SIGMOID, "hidden": [8]}
    run, _, material = prepared(pack, tmp_path, shallow(), head=head, pretraining=chosen)
    with pytest.raises(TrainingDiverged, match=r"hidden\.0 .* smaller pretraining\.lr"):
        list(pretrain(run, material))
