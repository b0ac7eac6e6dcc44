"""The training loop of a whole backbone: its steps are torch's AdamW's, at the rates of its schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.backbone_pretraining import Supervised
from models.pretraining.backbone_objectives import Objective
from models.pretraining.backbone_training import BackboneTraining, Images
from models.pretraining.messages import EpochPretrained
from tests.support.small_pack import PREPROCESSING, Corner, small_pack

if TYPE_CHECKING:
    from pathlib import Path


class Corners(Objective):
    """Classifies images by the mean colours of four corners."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.output = Corner(), nn.Linear(12, 3)
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def compute_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.batches.append((images.detach().clone(), labels.clone()))
        return nn.functional.cross_entropy(self.output(self.body(images)), labels)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    pack = small_pack(tmp_path, classes=3, each=7)
    return Images(pack, np.arange(len(pack)), PREPROCESSING)


def test_steps_are_those_of_adamw_with_warmup_and_cosine(images: Images) -> None:
    method = Supervised(epochs=3, batch_size=8, lr=0.1, weight_decay=0.5)
    torch.manual_seed(0)
    objective, reference = Corners(), Corners()
    reference.load_state_dict(objective.state_dict())
    training = BackboneTraining(method, objective, images, 0, torch.device("cpu"))
    assert training.steps == 2
    ended = [event for event in training.train() if isinstance(event, EpochPretrained)]
    weight, bias = reference.output.parameters()
    optimizer = torch.optim.AdamW([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], weight_decay=0.5)
    losses = []
    for step, (pixels, labels) in enumerate(objective.batches, 1):
        done = step / 2
        warmup = 0.3
        factor = (1 + math.cos(math.pi * (done - warmup) / (3 - warmup))) / 2
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * factor
        loss = reference.compute_loss(pixels, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == 6
    for trained, expected in zip(objective.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)
    means = [(first + second) / 2 for first, second in zip(losses[::2], losses[1::2], strict=True)]
    assert [event.loss for event in ended] == pytest.approx(means, rel=1e-5)


def test_epochs_have_other_views_and_another_order(images: Images) -> None:
    objective = Corners()
    list(BackboneTraining(Supervised(epochs=2, batch_size=21), objective, images, 0, torch.device("cpu")).train())
    (first, labels), (second, others) = objective.batches
    assert labels.tolist() != others.tolist()
    assert sorted(labels.tolist()) == sorted(others.tolist()) == [0] * 7 + [1] * 7 + [2] * 7
    assert not any(torch.equal(image, other) for image in first for other in second)
