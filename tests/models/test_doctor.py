"""The training doctor against trainings that are ill in a known way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.doctor import ADVICE, Doctor
from models.events import Diagnosed, EpochEnded, Noted
from tests.models.test_training import pack, trained

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

__all__ = ["pack"]  # the fixture

DEEP = [{"width": 32}] * 12


def diagnosed(pack: Pack, folder: Path, **choices: Any) -> tuple[dict[str, Any], list[Noted]]:
    """The last diagnosis of a training, and what was said on the way."""
    said: list[Any] = []
    trained(pack, folder, heard=said, **choices)
    *_, last = (event.diagnosis for event in said if isinstance(event, Diagnosed))
    return last, [event for event in said if isinstance(event, Noted)]


def kinds(diagnosis: dict[str, Any]) -> set[str]:
    """What was found."""
    return {finding["kind"] for finding in diagnosis["findings"]}


def test_gradients_vanish_below_many_sigmoids(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": DEEP, "activation": "sigmoid", "dropout": 0.0}
    diagnosis, said = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-4})
    assert "vanishing_gradients" in kinds(diagnosis)
    felt = {layer["layer"]: layer["gradient_rms"] for layer in diagnosis["layers"]}
    assert felt["hidden.0"] < 1e-4 * felt["output"]
    (note,) = (note for note in said if note.kind == "vanishing_gradients")
    assert note.level == "warning"
    assert "relu" in note.message


def test_sigmoids_with_the_historic_weights_saturate(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [256, 256], "activation": "sigmoid", "initializer": "normal", "dropout": 0.0}
    diagnosis, said = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-4})
    assert "saturated_units" in kinds(diagnosis)
    assert "initializer" in next(note.message for note in said if note.kind == "saturated_units")


def test_the_initializer_that_suits_is_healthy(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": DEEP, "activation": "elu", "dropout": 0.0}
    diagnosis, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-3})
    assert kinds(diagnosis).isdisjoint({"vanishing_gradients", "exploding_gradients", "saturated_units", "dead_units"})
    deviations = [layer["activation_std"] for layer in diagnosis["layers"] if layer["layer"] != "output"]
    assert max(deviations) / min(deviations) < 10


def test_units_that_never_fire_are_counted(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [64] * 4, "dropout": 0.0}
    diagnosis, said = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "rmsprop", "lr": 0.1}, regularizers=[])
    assert "dead_units" in kinds(diagnosis)
    assert "leaky_relu" in next(note.message for note in said if note.kind == "dead_units")
    healthy, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "adam", "lr": 1e-3})
    assert all(layer["dead"] < 0.5 for layer in healthy["layers"] if layer["dead"] is not None)
    leaky, _ = diagnosed(pack, tmp_path, head={**head, "activation": "leaky_relu"}, optimizer={"kind": "adam"})
    assert all(layer["dead"] is None for layer in leaky["layers"])


def test_gradients_that_explode_are_said(pack: Pack, tmp_path: Path) -> None:
    head = {"kind": "mlp", "hidden": [{"width": 64, "initializer": {"kind": "normal", "std": 9.0}}] * 6, "dropout": 0.0}
    diagnosis, _ = diagnosed(pack, tmp_path, head=head, optimizer={"kind": "sgd", "lr": 1e-12}, epochs=1)
    assert "exploding_gradients" in kinds(diagnosis)


def ended(epoch: int, **figures: float) -> EpochEnded:
    """An epoch with these figures."""
    known = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5, **figures}
    return EpochEnded(epoch=epoch, view=0, lr=0.1, seconds=0.1, cache_hits=0, cache_misses=0, **known)


def of_losses(epochs: list[EpochEnded], stop_reason: str) -> set[str]:
    """What a doctor finds in the figures alone."""

    class Patient:
        head = nn.Sequential()
        division = type("Division", (), {"stages": ()})

    doctor = Doctor(Patient(), steps=4)
    heard = [event for one in epochs for event in doctor.examine(one)]
    heard += doctor.discharge(stop_reason, None)
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


def test_a_loss_that_jumps_is_a_rate_too_high_and_one_that_still_falls_is_one_too_low() -> None:
    jumps = [ended(n, train_loss=2.0 if n % 2 else 1.0, train_accuracy=0.9) for n in range(1, 9)]
    assert "learning_rate_too_high" in of_losses(jumps, "early_stopping")
    falls = [ended(n, train_loss=2 - 0.1 * n, validation_loss=2 - 0.1 * n) for n in range(1, 9)]
    assert of_losses(falls, "epochs_done") == {"learning_rate_too_low"}
    assert "learning_rate_too_low" not in of_losses(falls, "early_stopping")


def test_every_finding_comes_with_advice_in_the_recipes_own_words() -> None:
    from models.catalog.recipe import FAMILIES, Recipe
    from models.catalog.technique import members

    words = set(Recipe.model_fields)
    for family in FAMILIES.values():
        for member in members(family):
            words |= set(member.model_fields)
            words |= {member.model_fields["kind"].default} if "kind" in member.model_fields else set()
    for kind, advice in ADVICE.items():
        assert words & set(advice.replace(".", " ").replace(",", " ").replace(":", " ").split()), kind


@pytest.mark.parametrize("steps", [1, 3, 4, 100])
def test_it_looks_at_a_few_steps_of_an_epoch(steps: int) -> None:
    class Patient:
        head = nn.Sequential()

    doctor = Doctor(Patient(), steps)
    looks = [doctor.looks_at(step) for step in range(steps)]
    assert looks[0]
    assert 1 <= sum(looks) <= 4


def test_looking_changes_nothing(pack: Pack, tmp_path: Path) -> None:
    """A head with dropout draws the same whether it is looked at or not."""
    training, _ = trained(pack, tmp_path, head={"kind": "mlp", "hidden": [8]}, epochs=1)
    features = torch.randn(5, 12)
    training.grafted.head.train()
    torch.manual_seed(3)
    plain = training.grafted.head(features)
    torch.manual_seed(3)
    assert torch.equal(training.doctor.through(features), plain)
