"""Other tasks first: they are learned, by the layers that should, and leave nothing else behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.optimizers import SGD
from models.pretraining.pretext_tasks import RotationTask
from models.pretraining.pretext_training import replace_output
from models.pretraining.pretrain import pretrain
from models.training.loop import TrainingDiverged
from tests.support.oriented_images import deep, oriented_pack, prepared, shallow

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.training.trainable_model import TrainableModel

ROTATION = {"kind": "rotation", "epochs": 8, "lr": 0.01}
OTHER = {"kind": "other_labels", "dataset": "ds_other", "epochs": 8, "lr": 0.01}


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """80 images."""
    return oriented_pack(tmp_path, 40)


def state(model: TrainableModel) -> dict[str, torch.Tensor]:
    return model.copy_state()


def test_turns_are_learned_and_the_output_layer_is_as_before(pack: Pack, tmp_path: Path) -> None:
    run, model, material = prepared(pack, tmp_path, shallow(), pretraining=ROTATION)
    before, modules = state(model), model.head.layers
    start, end = pretrain(run, material)
    assert start.data == {"classes": ["0°", "90°", "180°", "270°"], "images": 80}
    assert end.data["accuracy"] > 0.9
    assert end.data["last_loss"] < end.data["first_loss"] / 2
    assert all(one is other for one, other in zip(model.head.layers, modules, strict=True))
    same = {name for name, value in state(model).items() if torch.equal(value, before[name])}
    assert same == {"head.output.weight", "head.output.bias"}
    assert not model.training


def test_what_was_learned_lies_in_the_hidden_layers(pack: Pack, tmp_path: Path) -> None:
    """A least-squares classifier on them tells unseen turns apart, better than on layers that learned nothing."""
    (tmp_path / "unseen").mkdir()
    unseen = oriented_pack(tmp_path / "unseen", 60)
    narrow = {"kind": "mlp", "hidden": [3], "activation": "tanh", "dropout": 0.0}
    shares = []
    for pretraining in (None, {**ROTATION, "epochs": 20}):
        run, model, material = prepared(pack, tmp_path, shallow(), head=narrow, pretraining=pretraining)
        if pretraining is not None:
            list(pretrain(run, material))
        model.eval()
        _, _, other = prepared(unseen, tmp_path, shallow())
        parts = list(RotationTask(other).batches(torch.randperm(len(unseen)), 1, 16))
        with torch.inference_mode():
            hidden = torch.cat([model.head.hidden(model.forward_features(given)) for given, _ in parts])
        rows = nn.functional.pad(hidden, (0, 1), value=1.0).numpy()
        labels = torch.cat([known for _, known in parts]).numpy()
        learned = np.linalg.lstsq(rows[:240], np.eye(4)[labels[:240]], rcond=None)[0]
        shares.append((np.argmax(rows[240:] @ learned, 1) == labels[240:]).mean())
    assert shares[1] > max(0.9, shares[0] + 0.1)


def test_labels_of_another_dataset_are_learned(pack: Pack, tmp_path: Path) -> None:
    run, model, material = prepared(pack, tmp_path, shallow(), pretraining=OTHER)
    before = state(model)
    start, end = pretrain(run, material)
    assert "the labels of the other dataset: 2 classes, 80 images" in start.message
    assert end.data["last_loss"] < end.data["first_loss"]
    assert end.data["accuracy"] > 0.8
    assert end.message.startswith("Pretraining done: the loss went from ")
    assert torch.equal(state(model)["head.output.weight"], before["head.output.weight"])
    assert model.head.output.out_features == 2


@pytest.mark.parametrize("pretraining", [ROTATION, OTHER], ids=["rotation", "other_labels"])
@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_stages_above_the_cut_learn_too(pretraining: object, norm: str, pack: Pack, tmp_path: Path) -> None:
    """BatchNorm stands still where the recipe has it frozen."""
    cut = {"kind": "top", "batch_norm": norm}
    run, model, material = prepared(pack, tmp_path, deep(), pretraining=pretraining, cut=cut, head="linear")
    before = state(model)
    *_, end = pretrain(run, material)
    assert end.data["last_loss"] < end.data["first_loss"]
    same = {name for name, value in state(model).items() if torch.equal(value, before[name])}
    still = {"head.output.weight", "head.output.bias"}
    if norm == "frozen":
        still |= {f"top.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert {name.replace("division.", "") for name in same} == still
    assert not any(module.training for module in model.modules())


def test_a_gradual_cut_trains_no_stage_before_its_epoch(pack: Pack, tmp_path: Path) -> None:
    changed = []
    for epochs in (2, 3):
        choices = {
            "cut": {"kind": "gradual", "stages": 1, "every": 2},
            "pretraining": {**ROTATION, "epochs": epochs},
        }
        run, model, material = prepared(pack, tmp_path, deep(), **choices)
        before = state(model)
        list(pretrain(run, material))
        changed.append(not torch.equal(state(model)["top.0.weight"], before["top.0.weight"]))
    assert changed == [False, True]


def test_it_agrees_with_a_plain_loop_of_torch(pack: Pack, tmp_path: Path) -> None:
    choices = {
        "head": {"kind": "mlp", "hidden": [8], "dropout": 0.0},
        "optimizer": "adam",
        "cache": {"views": 0},
        "pretraining": {**OTHER, "epochs": 2},
    }
    run, model, material = prepared(pack, tmp_path, shallow(), **choices)
    x = model.compute_features(material.open_source(()), material.examples.images)
    network = nn.Sequential(nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    network[0].load_state_dict(model.head.hidden_layers[0].linear.state_dict())
    torch.manual_seed(run.recipe.seed)
    network[2].load_state_dict(replace_output(model, 2).head.output.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    torch.manual_seed(run.recipe.seed)
    for _ in range(2):
        for places in torch.split(torch.randperm(80), 16):
            loss = nn.functional.cross_entropy(network(x[places]), torch.from_numpy(pack.labels)[places])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    list(pretrain(run, material))
    torch.testing.assert_close(model.head.hidden_layers[0].linear.weight, network[0].weight, atol=1e-5, rtol=1e-4)


def test_the_rate_is_given_or_found_whatever_that_of_the_real_task_is(pack: Pack, tmp_path: Path) -> None:
    rates = []
    for lr in (0.03, "auto"):
        choices = {"pretraining": {**ROTATION, "epochs": 1, "lr": lr}, "optimizer": SGD(lr=1e-6)}
        run, _, material = prepared(pack, tmp_path, shallow(), **choices)
        *_, end = pretrain(run, material)
        rates.append(end.data["lr"])
    assert rates[0] == 0.03
    assert 1e-3 <= rates[1] <= 1


def test_the_rate_suits_the_epochs_of_pretraining(pack: Pack, tmp_path: Path) -> None:
    rates = []
    for job, epochs in ((200, 2), (5, 2), (200, 8)):
        choices = {"pretraining": {**ROTATION, "epochs": epochs, "lr": "auto"}, "optimizer": SGD(), "epochs": job}
        run, _, material = prepared(pack, tmp_path, shallow(), **choices)
        *_, end = pretrain(run, material)
        rates.append(end.data["lr"])
    assert rates[0] == rates[1] == pytest.approx(2 * rates[2], rel=0.05)


def test_a_last_image_alone_is_left_out_where_batches_are_normalized(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [8], "normalization": "batch_norm"}
    choices = {"head": head, "batch_size": 79, "pretraining": OTHER}
    run, _, material = prepared(pack, tmp_path, shallow(), **choices)
    *_, end = pretrain(run, material)
    assert end.data["last_loss"] < end.data["first_loss"]


def test_divergence_is_said_by_name(pack: Pack, tmp_path: Path) -> None:
    choices = {
        "pretraining": {**ROTATION, "lr": 1e6},
        "optimizer": "sgd",
    }
    run, _, material = prepared(pack, tmp_path, shallow(), **choices)
    with pytest.raises(TrainingDiverged, match=r"epoch 1 of pretraining.* smaller learning rate"):
        list(pretrain(run, material))
