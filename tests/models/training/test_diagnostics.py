"""Training diagnostics of trainings that go wrong in a known way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.catalog.early_stopping import EarlyStopping
from models.features.standardization import Standardization
from models.messages import Diagnosed, EpochEnded, Noted
from models.networks.cut_network import CutNetwork
from models.nn.head import HeadModule
from models.training.diagnostics import ADVICE, ClassRecall, Diagnostics
from models.training.selection import Figures, Selection
from models.training.trainable_model import TrainableModel
from tests.support.small_training import train_small

if TYPE_CHECKING:
    from pathlib import Path

    from models.catalog.losses import Task
    from models.datasets.pack import Pack

DEEP = [{"width": 32}] * 12
HEALTHY = [ClassRecall("a", 20, 5, 0.9)]


def diagnosed(pack: Pack, folder: Path, **choices: Any) -> tuple[dict[str, Any], list[Noted]]:
    """The last diagnosis of a training, and the notes on the way."""
    heard: list[Any] = []
    train_small(pack, folder, heard=heard, **choices)
    *_, last = (event.diagnosis for event in heard if isinstance(event, Diagnosed))
    return last, [event for event in heard if isinstance(event, Noted)]


def kinds(diagnosis: dict[str, Any]) -> set[str]:
    """Kinds of findings."""
    return {finding["kind"] for finding in diagnosis["findings"]}


def test_gradients_vanish_below_many_sigmoids(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": DEEP, "activation": "sigmoid", "dropout": 0.0}
    diagnosis, notes = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-4})
    assert "vanishing_gradients" in kinds(diagnosis)
    felt = {layer["layer"]: layer["gradient_rms"] for layer in diagnosis["layers"]}
    assert felt["hidden.0"] < 1e-4 * felt["output"]
    (note,) = (note for note in notes if note.kind == "vanishing_gradients")
    assert note.level == "warning"
    assert "relu" in note.message


def test_sigmoids_with_the_historic_weights_saturate(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [256, 256], "activation": "sigmoid", "initializer": "normal", "dropout": 0.0}
    diagnosis, notes = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-4})
    assert "saturated_units" in kinds(diagnosis)
    assert "initializer" in next(note.message for note in notes if note.kind == "saturated_units")


def test_the_initializer_that_suits_is_healthy(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": DEEP, "activation": "elu", "dropout": 0.0}
    diagnosis, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-3})
    assert kinds(diagnosis).isdisjoint({"vanishing_gradients", "exploding_gradients", "saturated_units", "dead_units"})
    deviations = [layer["activation_std"] for layer in diagnosis["layers"] if layer["layer"] != "output"]
    assert max(deviations) / min(deviations) < 10


def test_units_that_never_fire_are_counted(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [64] * 4, "dropout": 0.0}
    diagnosis, notes = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "rmsprop", "lr": 0.1}, regularizers=[])
    assert "dead_units" in kinds(diagnosis)
    assert "leaky_relu" in next(note.message for note in notes if note.kind == "dead_units")
    healthy, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "adam", "lr": 1e-3})
    assert all(layer["dead"] < 0.5 for layer in healthy["layers"] if layer["dead"] is not None)
    leaky, _ = diagnosed(pack, tmp_path, head={**head, "activation": "leaky_relu"}, optimizer={"kind": "adam"})
    assert all(layer["dead"] is None for layer in leaky["layers"])


def test_gradients_that_explode_are_said(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [{"width": 64, "initializer": {"kind": "normal", "std": 9.0}}] * 6, "dropout": 0.0}
    diagnosis, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-12}, epochs=1)
    assert "exploding_gradients" in kinds(diagnosis)


def test_gradients_that_vanish_to_nothing_are_said_too(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [16] * 60, "activation": "sigmoid", "dropout": 0.0}
    diagnosis, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-4}, epochs=1)
    assert diagnosis["layers"][0]["gradient_rms"] == 0.0
    (finding,) = (finding for finding in diagnosis["findings"] if finding["kind"] == "vanishing_gradients")
    assert "are zero" in finding["message"]


def ended(epoch: int, **figures: float) -> EpochEnded:
    """An epoch with these figures."""
    known: dict[str, Any] = {
        "view": 0,
        "lr": 0.1,
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "validation_loss": 1.0,
        "validation_accuracy": 0.5,
        **figures,
    }
    return EpochEnded(epoch=epoch, seconds=0.1, cache_hits=0, cache_misses=0, **known)


def bare_model() -> TrainableModel:
    """A model whose layers are not looked at."""
    head = HeadModule(nn.Dropout(), nn.Linear(4, 2))
    standardize = Standardization(torch.zeros(4), torch.ones(4))
    return TrainableModel(CutNetwork(None, nn.Identity(), "", (4,), ""), head, standardize)


def of_losses(epochs: list[EpochEnded], stop_reason: str, task: Task = "single_label") -> set[str]:
    """Kinds of findings in the figures of epochs alone."""
    diagnostics = Diagnostics(bare_model(), 4, task)
    heard = [event for one in epochs for event in diagnostics.examine(one)]
    heard += diagnostics.final_findings(stop_reason, None, Selection(EarlyStopping()), HEALTHY)
    return {event.kind for event in heard if isinstance(event, Noted)}


def test_a_validation_loss_that_rises_while_training_goes_on_is_overfitting() -> None:
    epochs = [
        ended(n, train_loss=1 / n, train_accuracy=1 - 0.5 / n, validation_loss=1 + 0.1 * n, validation_accuracy=0.6)
        for n in range(1, 9)
    ]
    assert of_losses(epochs, "early_stopping") == {"overfitting"}


def test_a_training_accuracy_that_stays_low_is_underfitting() -> None:
    epochs = [ended(n, train_loss=0.9, validation_loss=0.9 + 0.001 * n) for n in range(1, 9)]
    assert of_losses(epochs, "early_stopping") == {"underfitting"}
    assert of_losses(epochs, "early_stopping", "multi_label") == set(), "of several labels, all are seldom right"
    disturbed = [ended(n, train_accuracy=0.8, validation_accuracy=0.99) for n in range(1, 9)]
    assert of_losses(disturbed, "early_stopping") == set(), "dropout and augmentation alone"


def test_a_loss_that_jumps_is_a_rate_too_high_and_one_that_still_falls_is_one_too_low() -> None:
    jumps = [ended(n, train_loss=2.0 if n % 2 else 1.0, train_accuracy=0.9) for n in range(1, 9)]
    assert "learning_rate_too_high" in of_losses(jumps, "early_stopping")
    falls = [ended(n, train_loss=2 - 0.1 * n, validation_loss=2 - 0.1 * n) for n in range(1, 9)]
    assert of_losses(falls, "epochs_done") == {"learning_rate_too_low"}
    assert "learning_rate_too_low" not in of_losses(falls, "early_stopping")


def test_what_is_healthy_is_left_alone() -> None:
    known = {"train_accuracy": 0.9, "validation_accuracy": 0.9}
    views = [ended(n, view=n % 2, train_loss=(1.0 + n % 2) / n, **known) for n in range(1, 13)]
    small = [ended(n, train_loss=1.0 if n == 1 else 0.012 if n % 2 else 0.01, **known) for n in range(1, 9)]
    slow = [ended(n, validation_loss=1 - 0.001 * n, **known) for n in range(1, 9)]
    done = [ended(n, validation_loss=0.5**n, train_accuracy=1.0, validation_accuracy=1.0) for n in range(1, 9)]
    scheduled = [ended(n, validation_loss=2 - 0.1 * n, lr=0.1 - 0.0125 * (n - 1), **known) for n in range(1, 9)]
    for epochs in (views, small, slow, done, scheduled):
        assert of_losses(epochs, "epochs_done") == set()


def of_recalls(*rows: tuple[int, int, float]) -> list[str]:
    """Names of rare classes that are lost, of classes with such training images, validation images and recalls."""
    diagnostics = Diagnostics(bare_model(), 4, "single_label")
    list(diagnostics.examine(ended(1)))
    recalls = [ClassRecall("abcde"[place], *row) for place, row in enumerate(rows)]
    heard = list(diagnostics.final_findings("stopped", None, Selection(EarlyStopping()), recalls))
    found = [event for event in heard if isinstance(event, Noted) and event.kind == "rare_class_lost"]
    assert len(found) <= 1
    return [row["name"] for event in found for row in event.data["classes"]]


def test_a_rare_class_that_is_lost_is_named_with_what_to_do() -> None:
    assert of_recalls((200, 30, 1.0), (10, 2, 0.0)) == ["b"]
    assert of_recalls((200, 30, 1.0), (10, 8, 0.4)) == ["b"]
    assert of_recalls((200, 30, 1.0), (10, 8, 0.6)) == []
    assert of_recalls((200, 30, 0.9), (150, 20, 0.0)) == [], "it is not rare"
    assert of_recalls((200, 30, 1.0), (10, 0, 0.0)) == [], "nothing is known of it"
    assert of_recalls((200, 30, 0.9), (200, 30, 0.2), (10, 2, 0.0), (8, 2, 0.5)) == ["c"]


def test_a_baseline_that_is_delivered_or_should_be_is_told() -> None:
    worst, best = Figures(2.0, 0.5, 0.5, 0.5), Figures(0.1, 0.9, 0.9, 0.9)
    for stopping, kind in ((EarlyStopping(), "no_better_than_constant"), (None, "worse_than_baseline")):
        selection = Selection(stopping)
        selection.add_baseline("constant", best, dict)
        selection.add_epoch(1, worst, dict)
        diagnostics = Diagnostics(bare_model(), 4, "single_label")
        list(diagnostics.examine(ended(1)))
        heard = list(diagnostics.final_findings("stopped", None, selection, HEALTHY))
        assert [event.kind for event in heard if isinstance(event, Noted)] == [kind]


@pytest.mark.parametrize(("accuracy", "expected"), [(0.5, True), (0.89, True), (0.9, False)])
def test_a_head_alone_that_leaves_much_to_gain_is_told(accuracy: float, expected: bool) -> None:
    selection = Selection(EarlyStopping())
    selection.add_epoch(1, Figures(0.5, accuracy, accuracy, accuracy), dict)
    diagnostics = Diagnostics(bare_model(), 4, "single_label")
    list(diagnostics.examine(ended(1)))
    heard = list(diagnostics.final_findings("stopped", None, selection, HEALTHY))
    assert ("head_not_enough" in [event.kind for event in heard if isinstance(event, Noted)]) is expected


def test_every_finding_comes_with_advice_in_the_recipes_own_words() -> None:
    from models.catalog.families import FAMILIES
    from models.catalog.recipe import Recipe
    from models.catalog.technique import members

    everything = [member for family in FAMILIES.values() for member in members(family)]
    named = {member.model_fields["kind"].default for member in everything if "kind" in member.model_fields}
    fields = {name for member in everything for name in member.model_fields} | set(Recipe.model_fields)
    for kind, advice in ADVICE.items():
        words = set(re.findall(r"[a-z_]+", advice))
        assert words & (named | fields), kind
        assert {word for word in words if "_" in word} <= named | fields, kind
        for field, value in re.findall(r"([a-z_]+): ([a-z_]+)", advice):
            assert field in fields, kind
            assert value in named | {"auto"}, kind
        for parent, child in re.findall(r"([a-z_]+)\.([a-z_]+)", advice):
            assert parent in Recipe.model_fields, kind
            family = FAMILIES[f"{parent}es" if parent.endswith("s") else f"{parent}s"]
            assert any(child in member.model_fields for member in members(family)), kind


@pytest.mark.parametrize("steps", [1, 3, 4, 100])
def test_it_looks_at_a_few_steps_of_an_epoch(steps: int) -> None:
    diagnostics = Diagnostics(bare_model(), steps, "single_label")
    looks = [diagnostics.is_watching(step) for step in range(steps)]
    assert looks[0]
    assert 1 <= sum(looks) <= 4


def test_looking_changes_nothing(pack: Pack, tmp_path: Path) -> None:
    """A head with dropout draws the same whether it is looked at or not."""
    training, _ = train_small(pack, tmp_path, head={"kind": "mlp", "hidden": [8]}, epochs=1)
    features = torch.randn(5, 12)
    training.model.head.train()
    torch.manual_seed(3)
    plain = training.model.head(features)
    torch.manual_seed(3)
    assert torch.equal(training.diagnostics.forward(features), plain)
