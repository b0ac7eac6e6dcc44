"""Greedy layer-wise pretraining: each hidden layer is fitted to the outputs of the layers below, then kept fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.messages import Noted
from models.runtime.stop_condition import NONE
from models.training.loop import TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from models.nn.head import HiddenLayer
    from models.pretraining.pretrain import Material
    from models.runtime.stop_condition import StopCondition
    from models.training.inputs import TrainingRun

MOST_NUMBERS = 2**28
"""Most numbers of features in memory: 1 GiB."""


@dataclass(frozen=True)
class LayerTask:
    """A hidden layer of a head, and the inputs to fit it to."""

    layer: HiddenLayer
    inputs: torch.Tensor
    """(n, D), on the layer's device."""
    is_first: bool
    """Whether its inputs are standardized features."""
    stop_condition: StopCondition = NONE

    @property
    def linear(self) -> nn.Linear:
        """The layer's W (H, D) and b (H,)."""
        return self.layer.linear

    def epochs(self, count: int) -> Iterator[int]:
        """Count epochs: at least one, and as many of `count` as the stop condition allows."""
        for epoch in range(count):
            yield epoch
            if self.stop_condition.reason is not None:
                break

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Walk the inputs in random order, `size` or a few more at a time: none is left to be normalized alone."""
        order = torch.randperm(len(self.inputs)).to(self.inputs.device)
        for places in torch.tensor_split(order, max(1, len(order) // size)):
            yield self.inputs[places]


@dataclass(frozen=True)
class Fit:
    """Metrics of a pretrained layer."""

    losses: list[float]
    """Reconstruction error, the mean of each epoch."""
    figures: dict[str, float] = field(default_factory=dict)
    """Other metrics, by name."""


def fit_layers(run: TrainingRun, material: Material, fit: Callable[[LayerTask, int], Fit]) -> Iterator[Noted]:
    """Fit each hidden layer in turn by `fit(task, batch_size)`, in place, to the plain views of images.

    Raises TrainingDiverged.
    """
    recipe, layers = run.recipe, run.model.head.hidden_layers
    kind = "none" if recipe.pretraining is None else recipe.pretraining.kind
    inputs = _sample(run, material)
    yield Noted(
        kind="pretraining",
        message=f"Pretraining {_count(len(layers))} without labels, as {kind}, on {len(inputs)} images",
        data={"pretraining": kind, "images": len(inputs)},
    )
    for number, layer in enumerate(layers):
        torch.manual_seed(recipe.seed + number)
        layer.train()
        fitted = fit(LayerTask(layer, inputs, number == 0, run.stop_condition), max(2, recipe.batch_size))
        first, last = fitted.losses[0], fitted.losses[-1]
        if not math.isfinite(last):
            raise TrainingDiverged(
                f"The reconstruction error of hidden.{number} became infinite or NaN in pretraining; "
                "choose a smaller pretraining.lr."
            )
        layer.eval()
        with torch.no_grad():
            inputs = layer.activate(inputs)
        yield Noted(
            kind="pretraining",
            message=f"hidden.{number} is pretrained: its reconstruction error went from {first:.4g} to {last:.4g}",
            data={"layer": f"hidden.{number}", "first_loss": first, "last_loss": last, **fitted.figures},
        )


def _sample(run: TrainingRun, material: Material) -> torch.Tensor:
    """Load features of all images, or of a random sample that fits MOST_NUMBERS."""
    images = material.examples.images
    most = max(2, MOST_NUMBERS // len(run.model.standardize.mean))
    if len(images) > most:
        images = np.sort(np.random.default_rng(run.recipe.seed).choice(images, most, replace=False))
    return run.model.compute_features(material.open_source(()), images)


def _count(layers: int) -> str:
    return "the hidden layer" if layers == 1 else f"{layers} hidden layers"
