"""Targets of training images, and distillation in a training against a plain loop of torch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.distillation import Distillation
from models.messages import EpochEnded
from models.runtime.rng import seed_epoch
from models.training.loop import Training
from models.training.targets import TargetTable
from tests.support.small_training import small_run, uncached_training

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.training.inputs import TrainingRun

DISTILLATION = {"teacher": "ckpt_1", "temperature": 2.0, "weight": 0.6}
CHOICES: dict[str, Any] = {
    "distillation": DISTILLATION,
    "cache": {"views": 0},
    "regularizers": [],
    "augmentations": [],
    "optimizer": {"kind": "sgd", "lr": 0.05},
    "early_stopping": None,
    "epochs": 3,
}


def taught(run: TrainingRun) -> TrainingRun:
    """Give a run the logits of a teacher, drawn at random."""
    return replace(run, teacher_logits=torch.randn(60, 3, generator=torch.Generator().manual_seed(0)))


def test_images_are_looked_up_in_any_order(pack: Pack, tmp_path: Path) -> None:
    run = taught(small_run(pack, tmp_path, **CHOICES))
    assert run.teacher_logits is not None
    table, places = TargetTable(run), np.array([5, 0, 59, 5])
    labels, soft = table.look_up(run.train.images[places])
    assert labels.tolist() == run.train.labels[places].tolist()
    torch.testing.assert_close(soft, (run.teacher_logits[places] / 2).softmax(1))


def test_without_a_teacher_there_are_labels_alone(pack: Pack, tmp_path: Path) -> None:
    run = small_run(pack, tmp_path)
    assert TargetTable(run).look_up(run.train.images[:4]).soft is None


def test_a_run_that_lacks_its_teachers_logits_is_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no logits of its teacher"):
        TargetTable(small_run(pack, tmp_path, **CHOICES))


def train_plainly(run: TrainingRun, epochs: int) -> tuple[nn.Module, list[float]]:
    """Train a copy of a run's head with soft targets; returns it, and the mean loss of each epoch."""
    head = copy.deepcopy(run.model.head).train()
    optimizer, teacher = torch.optim.SGD(head.parameters(), lr=0.05), run.teacher_logits
    assert teacher is not None
    place = {int(image): row for row, image in enumerate(run.train.images)}
    targets, losses = torch.from_numpy(run.train.labels), []
    for epoch in range(1, epochs + 1):
        seed_epoch(run.recipe.seed, epoch)
        order = run.train.images[run.recipe.sampling.draw_order(targets).numpy()]
        total = 0.0
        for images, rows in run.source.read_batches(order, 0, run.recipe.batch_size):
            places = torch.tensor([place[int(image)] for image in images])
            y, t, x = targets[places], teacher[places], torch.from_numpy(rows).float()
            share, others = 1.0, torch.arange(len(y))
            if run.recipe.augmentations:
                torch.randint(1, ())  # which of the recipe's mixes
                mixed = run.recipe.augmentations[0].mix(x)  # type: ignore[union-attr]
                x, share, others = mixed.rows, mixed.share, mixed.partners
            logits = head(run.model.standardize(x))
            hard = share * nn.functional.cross_entropy(logits, y)
            hard = hard + (1 - share) * nn.functional.cross_entropy(logits, y[others])
            p = share * (t / 2).softmax(1) + (1 - share) * (t[others] / 2).softmax(1)
            soft = (p * (p.log() - (logits / 2).log_softmax(1))).sum(1).mean()
            loss = 0.4 * hard + 0.6 * 4 * soft
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(y)
        losses.append(total / len(order))
    return head, losses


@pytest.mark.parametrize("augmentations", [[], [{"kind": "mixup", "alpha": 1.0}]], ids=["plain", "mixed"])
def test_a_training_distils_as_a_plain_loop_does(
    pack: Pack, tmp_path: Path, augmentations: list[dict[str, Any]]
) -> None:
    training = Training(taught(small_run(pack, tmp_path, **{**CHOICES, "augmentations": augmentations})))
    expected, losses = train_plainly(training.run, epochs=3)
    epochs = [event for event in training.train() if isinstance(event, EpochEnded)]
    assert [ended.train_loss for ended in epochs] == pytest.approx(losses, rel=1e-5)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(training.model.head.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_labels_count_not_at_all_at_weight_one(pack: Pack, tmp_path: Path) -> None:
    ends = []
    for shift in (0, 1):
        run = taught(small_run(pack, tmp_path, **{**CHOICES, "distillation": {**DISTILLATION, "weight": 1.0}}))
        run = replace(run, train=replace(run.train, labels=(run.train.labels + shift) % 3))
        training = Training(run)
        list(training.train())
        ends.append(training.model.head.output.weight)
    assert torch.equal(*ends)


class Small(nn.Module):
    """Memory for five images; for more, it fails as a device's allocator does."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows."""
        if torch.is_grad_enabled() and len(rows) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return rows


def test_parts_of_a_batch_add_up_to_the_whole(pack: Pack) -> None:
    choices = {**CHOICES, "head": {"kind": "mlp", "hidden": [8], "dropout": 0.0}, "sharpness": "sam"}
    del choices["cache"]
    ends = []
    for memory in (nn.Identity(), Small()):
        training = Training(taught(uncached_training_run(pack, **choices)))
        training.model.top = memory
        list(training.train())
        ends.append(training.model.head.state_dict())
    for name, weight in ends[0].items():
        torch.testing.assert_close(ends[1][name], weight, rtol=1e-3, atol=1e-5)


def uncached_training_run(pack: Pack, **choices: Any) -> TrainingRun:
    """Prepare a run on images that are rendered anew."""
    plain = uncached_training(pack, **{**choices, "distillation": None}).run
    distillation = Distillation.model_validate(DISTILLATION)
    return replace(plain, recipe=plain.recipe.model_copy(update={"distillation": distillation}))
