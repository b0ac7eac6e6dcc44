"""Choices of a recipe about training, seen in a training."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.messages import Diagnosed, EpochEnded, Noted
from models.runtime.stop_condition import StopCondition
from models.training.loop import Step, Training, TrainingDiverged
from tests.support.images import encoded, noise, write_zip
from tests.support.small_pack import packed
from tests.support.small_training import CLASSES, small_run, train_small, uncached_training

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack


def run(training: Training) -> list[EpochEnded]:
    """Its epochs."""
    return [event for event in training.train() if isinstance(event, EpochEnded)]


def test_without_a_cache_each_epoch_has_a_view_of_its_own_and_computes_it(pack: Pack) -> None:
    epochs = run(uncached_training(pack))
    assert [ended.view for ended in epochs] == [0, 1, 2]
    assert [ended.cache_hits for ended in epochs] == [0, 0, 0]
    assert [ended.cache_misses for ended in epochs] == [90, 90, 90], "60 to train on, 30 to validate on"


def test_without_augmentation_the_cache_changes_nothing_but_the_time(pack: Pack, tmp_path: Path) -> None:
    cached, _ = train_small(pack, tmp_path, augmentations=[], epochs=3, optimizer={"kind": "adam", "lr": 0.002})
    without = uncached_training(pack, augmentations=[])
    run(without)
    one, other = cached.model.head.output.weight, without.model.head.output.weight
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-2)  # the cache keeps half precision


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_are_mixed_before_the_trunk_where_nothing_is_cached(pack: Pack, kind: str) -> None:
    mixed, plain = (
        uncached_training(pack, augmentations=[{"kind": kind, "alpha": 1.0}]),
        uncached_training(pack, augmentations=[]),
    )
    ends = [run(training)[-1] for training in (mixed, plain)]
    assert ends[0].train_loss > ends[1].train_loss, "labels that are blended cannot be learned to the end"


def test_of_mixed_images_that_counts_which_has_the_greater_share(pack: Pack, tmp_path: Path) -> None:
    choices = {"optimizer": {"kind": "adam", "lr": 0.1}, "epochs": 30, "early_stopping": None}
    _, epochs = train_small(pack, tmp_path, augmentations=[{"kind": "mixup", "alpha": 0.05}], **choices)
    assert np.mean([ended.train_accuracy for ended in epochs[-10:]]) > 0.95


def test_features_are_mixed_where_they_are_cached(pack: Pack, tmp_path: Path) -> None:
    choices = {"augmentations": ["mixup"], "optimizer": {"kind": "adam", "lr": 0.01}}
    first, epochs = train_small(pack, tmp_path, **choices)
    again, _ = train_small(pack, tmp_path, **choices)
    assert torch.equal(first.model.head.output.weight, again.model.head.output.weight)
    _, plain = train_small(pack, tmp_path, augmentations=[], optimizer={"kind": "adam", "lr": 0.01})
    assert epochs[-1].train_loss > plain[-1].train_loss


@pytest.mark.parametrize(("most", "share"), [(1e-9, 1.0), (1e6, 0.0)])
def test_the_share_of_clipped_steps_is_reported(pack: Pack, tmp_path: Path, most: float, share: float) -> None:
    heard: list[Any] = []
    train_small(pack, tmp_path, heard=heard, gradient_clipping={"kind": "by_norm", "limit": most})
    *_, last = (event.diagnosis for event in heard if isinstance(event, Diagnosed))
    assert last["clipped_share"] == share


@pytest.mark.parametrize("sharpness", [None, "sam"])
def test_the_averaged_weights_are_validated_and_delivered(pack: Pack, sharpness: str | None) -> None:
    training = uncached_training(pack, averaging={"decay": 0.6}, early_stopping=None, epochs=1, sharpness=sharpness)
    averaged = training.model.head.output.weight.detach().clone()
    steps = 0
    for event in training.train():
        if isinstance(event, Step):
            share = min(0.6, (1 + steps) / (10 + steps))
            averaged = share * averaged + (1 - share) * training.model.head.output.weight.detach()
            steps += 1
    torch.testing.assert_close(training.model.head.output.weight.detach(), averaged)


def test_the_rate_follows_the_schedule_within_an_epoch(pack: Pack) -> None:
    training = uncached_training(
        pack, schedule={"kind": "exponential", "rate": 0.5, "every": 1.0, "warmup_epochs": 1.0}
    )
    rates = [
        training.train_step.optimizer.param_groups[0]["lr"] / 0.002
        for event in training.train()
        if isinstance(event, Step)
    ]
    times = [epoch + step * 16 / 60 for epoch in range(3) for step in range(4)]
    assert rates == pytest.approx([time if time < 1 else 0.5 ** (time - 1) for time in times])


def test_the_time_budget_ends_an_epoch_and_the_best_so_far_is_kept(pack: Pack) -> None:
    training = uncached_training(pack, epochs=1000)
    training.run = replace(training.run, stop_condition=StopCondition(time.monotonic()))
    events = list(training.train())
    assert sum(isinstance(event, Step) for event in events) == 1
    assert (training.stop_reason, training.best_epoch) == ("time_budget", 1)


def test_who_asks_it_to_stop_gets_the_best_so_far(pack: Pack) -> None:
    training = uncached_training(pack, epochs=1000)
    asked: list[bool] = []
    training.run = replace(training.run, stop_condition=StopCondition(stop_requested=lambda: bool(asked)))
    epochs = 0
    for event in training.train():
        epochs += isinstance(event, EpochEnded)
        if epochs == 3:
            asked.append(True)
    assert (training.stop_reason, len(training.losses)) == ("stopped", 3)
    assert training.best_epoch == 1 + training.losses.index(min(training.losses))


def test_a_target_that_is_reached_ends_the_training(pack: Pack) -> None:
    training = uncached_training(
        pack, epochs=1000, target={"metric": "validation_loss", "value": 1.0}, early_stopping=None
    )
    epochs = run(training)
    assert training.stop_reason == "target_reached"
    assert epochs[-1].validation_loss <= 1.0
    assert all(ended.validation_loss > 1.0 for ended in epochs[:-1])


def test_views_are_added_to_the_best_so_far_and_training_goes_on(tmp_path: Path) -> None:
    """A head can only memorize noise."""
    files = {f"{CLASSES[number % 3]}/{number}.png": encoded(noise(number)) for number in range(90)}
    unlearnable = packed(write_zip(tmp_path / "noise.zip", files))
    heard: list[Any] = []
    head = {"kind": "mlp", "hidden": [64], "dropout": 0.0}
    choices: dict[str, Any] = {"cache": {"views": 2, "grow": True}, "head": head, "epochs": 200}
    training, epochs = train_small(unlearnable, tmp_path, heard=heard, early_stopping={"patience": 4}, **choices)
    added = [event for event in heard if isinstance(event, Noted) and event.kind == "view_added"]
    assert [event.data["view"] for event in added] == list(range(1, len(added) + 1))
    assert added
    assert training.view_schedule.views == len(added)
    assert training.stop_reason == "early_stopping"
    first = heard.index(added[0])
    before = [event for event in heard[:first] if isinstance(event, EpochEnded)]
    after = next(event for event in heard[first:] if isinstance(event, EpochEnded))
    assert {ended.view for ended in before} == {0}
    assert {ended.view for ended in epochs} == set(range(len(added) + 1))
    best = min(before, key=lambda ended: ended.validation_loss)
    assert len(before) == best.epoch + 4
    assert after.epoch == before[-1].epoch + 1


@pytest.mark.parametrize("averaging", [None, {"decay": 0.8}], ids=["plain", "averaged"])
def test_with_a_view_training_goes_on_from_one_state_of_the_best_epoch(tmp_path: Path, averaging: Any) -> None:
    """Its weights, their average and the optimizer's moments."""
    files = {f"{CLASSES[number % 3]}/{number}.png": encoded(noise(number)) for number in range(90)}
    unlearnable = packed(write_zip(tmp_path / "noise.zip", files))
    head = {"kind": "mlp", "hidden": [64], "dropout": 0.0}
    choices: dict[str, Any] = {"cache": {"views": 2, "grow": True}, "head": head, "epochs": 200, "averaging": averaging}
    training = Training(small_run(unlearnable, tmp_path, early_stopping={"patience": 4}, **choices))
    states: dict[int, dict[str, torch.Tensor]] = {}
    added = 0
    for event in training.train():
        if isinstance(event, EpochEnded):
            states[event.epoch] = flat_state(training)
        elif isinstance(event, Noted) and event.kind == "view_added":
            added += 1
            best = 1 + int(np.argmin(training.losses))
            assert best < len(training.losses), "there is something to go back from"
            found, expected = flat_state(training), states[best]
            assert found.keys() == expected.keys()
            assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    assert added


def flat_state(training: Training) -> dict[str, torch.Tensor]:
    """Copies of the weights, the optimizer's moments, and the average."""
    step = training.train_step.state_dict()
    moments = {f"{place}.{name}": value for place, values in step["moments"].items() for name, value in values.items()}
    average = {} if step["average"] is None else dict(enumerate(step["average"]["values"]))
    tensors = {
        **training.model.state_dict(),
        **moments,
        **{f"average.{place}": value for place, value in average.items()},
    }
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def test_the_epoch_that_reaches_the_target_is_delivered(pack: Pack) -> None:
    """Though by the metric of early stopping another was better."""
    rising = {"metric": "validation_accuracy", "min_delta": 1.0}
    target = {"metric": "validation_loss", "value": 1.0}
    training = uncached_training(pack, epochs=1000, target=target, early_stopping=rising)
    last = run(training)[-1]
    assert last.epoch > 1
    assert training.best_epoch == last.epoch
    logits = torch.from_numpy(training.validation_logits)
    labels = torch.from_numpy(training.run.validation.labels)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(last.validation_loss)


def test_an_epoch_that_diverges_is_tried_again_with_a_smaller_rate(pack: Pack, tmp_path: Path) -> None:
    """w ← (1 - lr·strength)·w: fourteen times as large at each step; it shrinks at a tenth of the rate."""
    heard: list[Any] = []
    choices: dict[str, Any] = {"regularizers": [{"kind": "l2", "strength": 1.0}], "epochs": 12, "early_stopping": None}
    training, epochs = train_small(pack, tmp_path, heard=heard, optimizer={"kind": "sgd", "lr": 15.0}, **choices)
    (note,) = (event for event in heard if isinstance(event, Noted) and event.kind == "diverged")
    assert "tried again" in note.message
    assert [ended.epoch for ended in epochs] == list(range(1, 13)), "the epoch is told of once"
    assert epochs[-1].lr == pytest.approx(1.5)
    assert training.stop_reason == "epochs_done"


def test_max_norm_holds_after_every_step(pack: Pack) -> None:
    head = {"kind": "mlp", "hidden": [8], "dropout": 0.0}
    training = uncached_training(pack, head=head, regularizers=[{"kind": "max_norm", "r": 0.5}])
    for event in training.train():
        if isinstance(event, Step):
            for weight in training.model.regularized_weights:
                assert weight.norm(dim=1).max() <= 0.5 + 1e-5


def test_a_batch_of_one_is_not_normalized_by_itself(pack: Pack) -> None:
    head = {"kind": "mlp", "hidden": [8], "normalization": "batch_norm"}
    training = uncached_training(pack, head=head, batch_size=59)
    assert len(run(training)) == 3


class Witness(nn.Module):
    """A loss that remembers the labels, and is NaN the one time that it is told to be."""

    def __init__(self, loss: nn.Module, broken_call: int = 0) -> None:
        super().__init__()
        self.loss, self.broken_call = loss, broken_call
        self.labels: list[torch.Tensor] = []

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss."""
        self.labels.append(labels)
        loss: torch.Tensor = self.loss(logits, labels)
        return loss * float("nan") if len(self.labels) == self.broken_call else loss


def test_balanced_sampling_shows_rare_classes_as_often(pack: Pack) -> None:
    shares = {}
    for sampling in ("balanced", "shuffled"):
        training = uncached_training(pack, sampling=sampling, augmentations=[], epochs=40, early_stopping=None, rare=2)
        training.train_step.loss = witness = Witness(training.train_step.loss)
        run(training)
        seen = torch.cat([labels for labels in witness.labels if len(labels) < 30])
        shares[sampling] = float((seen == 2).float().mean())
    assert shares["balanced"] == pytest.approx(1 / 3, abs=0.04)
    assert shares["shuffled"] == pytest.approx((training.run.train.labels == 2).mean())


def test_a_image_that_is_drawn_again_is_computed_once(pack: Pack, tmp_path: Path) -> None:
    training, epochs = train_small(
        pack, tmp_path, sampling="balanced", cache={"views": 1}, epochs=12, early_stopping=None
    )
    assert sum(ended.cache_misses for ended in epochs) <= len(training.run.train.images)
    assert epochs[1].cache_misses < len(training.run.train.images) == epochs[1].cache_misses + epochs[1].cache_hits


@pytest.mark.parametrize("averaging", [None, {"decay": 0.9}])
def test_the_retry_goes_on_as_if_the_epoch_had_begun_at_a_smaller_rate(pack: Pack, averaging: object) -> None:
    """A loss of NaN in the second step of the second epoch, against a schedule with a tenth from that epoch on."""
    choices = {"optimizer": {"kind": "adam"}, "gradient_clipping": "by_norm", "averaging": averaging}
    tenth = {"kind": "piecewise_constant", "boundaries": [1], "factors": [1.0, 0.1]}
    ends: list[Any] = []
    for training in (uncached_training(pack, **choices), uncached_training(pack, schedule=tenth, **choices)):
        steps_and_validation = 5
        broken = 0 if ends else steps_and_validation + 2
        training.train_step.loss = Witness(training.train_step.loss, broken)
        heard = list(training.train())
        assert any(event.kind == "diverged" for event in heard if isinstance(event, Noted)) == bool(broken)
        *_, last = (event.diagnosis for event in heard if isinstance(event, Diagnosed))
        ends.append((training.model.copy_state(), last["layers"], last["clipped_share"]))
    (weights, *retried), (expected, *planned) = ends
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert retried == planned


def test_a_head_that_is_broken_before_its_first_step_is_refused_by_name(pack: Pack) -> None:
    head = {"kind": "mlp", "hidden": [512] * 40, "initializer": "normal"}
    with pytest.raises(TrainingDiverged, match=r"before the first step: set head\.initializer"):
        uncached_training(pack, head=head)
