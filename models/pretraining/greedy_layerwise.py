"""Layer by layer: each hidden layer is fitted to what the layers below it say, and then stays as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.messages import Noted
from models.runtime.stop_condition import NONE
from models.training.loop import TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.catalog.recipe import Recipe
    from models.pretraining.pretrain import Material
    from models.runtime.stop_condition import StopCondition
    from models.training.model import TrainableModel

MOST_NUMBERS = 2**28
"""Of features in memory: 1 GiB."""


@dataclass(frozen=True)
class Layer:
    """A hidden layer of a head, and what it is to be fitted to."""

    modules: nn.Sequential
    """Linear, activation and norm, without dropout: (B, D) → (B, H)."""
    inputs: torch.Tensor
    """(n, D), on the layer's device."""
    is_first: bool
    """Whether its inputs are standardized features."""
    stop_condition: StopCondition = NONE

    @property
    def linear(self) -> nn.Linear:
        """Its W (H, D) and b (H,)."""
        linear = self.modules[0]
        assert isinstance(linear, nn.Linear)
        return linear

    def epochs(self, count: int) -> Iterator[int]:
        """At least one, and as many as the limit leaves of `count`."""
        for epoch in range(count):
            yield epoch
            if self.stop_condition.reason is not None:
                break

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The inputs in random order, `size` or a few more at a time: none is left over to be normalized alone."""
        order = torch.randperm(len(self.inputs)).to(self.inputs.device)
        for places in torch.tensor_split(order, max(1, len(order) // size)):
            yield self.inputs[places]


@dataclass(frozen=True)
class Fit:
    """How well a layer was fitted."""

    losses: list[float]
    """Reconstruction error, the mean of each epoch."""
    about: dict[str, float] = field(default_factory=dict)
    """What else there is to say."""


def fit_layers(
    recipe: Recipe, model: TrainableModel, material: Material, fit: Callable[[Layer, int], Fit]
) -> Iterator[Noted]:
    """Have `fit` fit each hidden layer in turn, in place, to the plain views, in batches of so many images.

    Raises TrainingDiverged.
    """
    assert recipe.pretraining is not None
    kind = recipe.pretraining.kind
    layers = hidden_layers(model.head)
    inputs = _sample(model, material, recipe.seed)
    said = f"The {_hidden(len(layers))} first learn without labels, as {kind}, from {len(inputs)} images"
    yield Noted(kind="pretraining", message=said, data={"pretraining": kind, "images": len(inputs)})
    for number, modules in enumerate(layers):
        torch.manual_seed(recipe.seed + number)
        layer = Layer(modules.train(), inputs, number == 0, material.stop_condition)
        found = fit(layer, max(2, recipe.images_per_step))
        first, last = found.losses[0], found.losses[-1]
        if not math.isfinite(last):
            raise TrainingDiverged(
                f"The reconstruction error of hidden.{number} became infinite or NaN in pretraining; "
                "choose a smaller pretraining.lr."
            )
        with torch.no_grad():
            inputs = modules.eval()(inputs)
        yield Noted(
            kind="pretraining",
            message=f"hidden.{number} is pretrained: its reconstruction error went from {first:.4g} to {last:.4g}",
            data={"layer": f"hidden.{number}", "first_loss": first, "last_loss": last, **found.about},
        )


def hidden_layers(head: nn.Sequential) -> list[nn.Sequential]:
    """The hidden layers of a head from below, each its own modules without dropout; none of a linear head."""
    layers: list[list[nn.Module]] = []
    for module in head:
        if isinstance(module, nn.Linear):
            layers.append([])
        if layers and not isinstance(module, nn.Dropout):
            layers[-1].append(module)
    return [nn.Sequential(*modules) for modules in layers[:-1]]


def _sample(model: TrainableModel, material: Material, seed: int) -> torch.Tensor:
    """Features of all images, or of as many, drawn at random, as MOST_NUMBERS allows."""
    images = material.examples.images
    most = max(2, MOST_NUMBERS // len(model.standardize.mean))
    if len(images) > most:
        images = np.sort(np.random.default_rng(seed).choice(images, most, replace=False))
    return model.sample(material.opened(()), images)


def _hidden(count: int) -> str:
    return "hidden layer" if count == 1 else f"{count} hidden layers"
