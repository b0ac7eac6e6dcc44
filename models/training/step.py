"""Gradient descent: the steps by which what is grafted learns, and all that they carry from one to the next."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.catalog.mixup import BatchAugmentation, FeatureAugmentation
from models.catalog.regularizers import Constraint, Penalty
from models.evaluation.metrics import right
from models.runtime.micro_batches import MicroBatches
from models.training.ema import Average

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.training.diagnostics import Diagnostics
    from models.training.model import TrainableModel


class NotFinite(Exception):
    """A loss is NaN or infinite."""


class TrainStep:
    """Steps of the optimizer over what is grafted, as a resolved recipe has them."""

    def __init__(
        self, recipe: Recipe, classes: list[str], model: TrainableModel, source: FeatureSource, diagnostics: Diagnostics
    ) -> None:
        self.recipe, self.model, self.source, self.diagnostics = recipe, model, source, diagnostics
        assert recipe.loss != "auto"
        self.loss = recipe.loss.build(classes).to(model.device)
        self.optimizer = recipe.optimizer.build(model.groups(recipe))
        self._rates: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        self._average = Average(recipe.averaging, model) if recipe.averaging is not None else None
        self._steps = self._clipped = 0
        self.parts = MicroBatches()
        self._mixes = [a for a in recipe.augmentations if isinstance(a, BatchAugmentation)]
        self._noises = [a for a in recipe.augmentations if isinstance(a, FeatureAugmentation)]
        self._weights = model.weights()
        self._penalties = [r for r in recipe.regularizers if isinstance(r, Penalty)]
        self._constraints = [r for r in recipe.regularizers if isinstance(r, Constraint)]

    @property
    def rate(self) -> float:
        """The learning rate of the head, before a schedule."""
        return self._rates[0]

    @property
    def clipped_share(self) -> float | None:
        """Share of the steps whose gradient was clipped; none where nothing clips."""
        return None if self.recipe.gradient_clipping is None else self._clipped / max(self._steps, 1)

    def slow_down(self, factor: float) -> None:
        """Go on with all rates times `factor`."""
        self._rates = [rate * factor for rate in self._rates]

    def averaged(self) -> AbstractContextManager[None]:
        """For a while what is grafted is the average over its steps, where the recipe averages."""
        return nullcontext() if self._average is None else self._average.applied()

    def step(self, given: torch.Tensor, labels: torch.Tensor, factor: float, number: int) -> tuple[float, int]:
        """One step at the rates times `factor`; gives the loss, without penalties, and how many images were right.

        `number` counts the steps of the epoch. Raises NotFinite.
        """
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        if len(labels) == 1 and self.model.needs_two:
            return self._alone(given, labels)
        is_watched = self.diagnostics.looks_at(number)
        loss, hits = self._descend(given, labels, is_watched)
        if is_watched:
            self.diagnostics.record_gradients()  # the gradient of the loss alone: that of a penalty never vanishes
        for term in self._penalties:
            term.compute_penalty(self._weights).backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimizer.step()
        with torch.no_grad():
            for constraint in self._constraints:
                constraint.constrain(self._weights, self._rates[0] * factor)
        if self._average is not None:
            self._average.update()
        return loss, hits

    def state(self) -> dict[str, Any]:
        """All that a step depends on beside what is grafted and the random numbers; its tensors go on changing."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "moments": {str(place): dict(values) for place, values in moments.items()},
            "rates": self._rates,
            "average": None if self._average is None else self._average.state(),
            "counts": [self._steps, self._clipped],
            "parts": self.parts.count,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` gave."""
        parameters = self._parameters()
        moments = {
            int(place): {name: _laid_out(value, parameters[int(place)]) for name, value in values.items()}
            for place, values in state["moments"].items()
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self._rates = list(state["rates"])
        if self._average is not None:
            self._average.load(state["average"])
        self._steps, self._clipped = state["counts"]
        self.parts.count = state["parts"]

    def _descend(self, given: torch.Tensor, labels: torch.Tensor, is_watched: bool) -> tuple[float, int]:
        """Compute the gradient: of the batch as a whole, or in as many parts as the memory asks for."""
        batch = self._mixed(given, labels)
        least = 2 if self.model.needs_two else 1
        return self.parts.run(lambda count: self._accumulate(batch, count, is_watched), len(labels) // least)

    def _mixed(self, given: torch.Tensor, labels: torch.Tensor) -> _Batch:
        if not self._mixes:
            return _Batch(given, labels, labels, 1.0)
        mixed = self._mixes[int(torch.randint(len(self._mixes), ()))].mix(given)
        return _Batch(mixed.rows, labels, labels[mixed.partners], mixed.share)

    def _accumulate(self, batch: _Batch, parts: int, is_watched: bool) -> tuple[float, int]:
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum, hits = 0.0, 0
        for part in batch.split(parts):
            share = len(part.labels) / len(batch.labels)
            logits = self._logits(part.rows, is_watched)
            loss: torch.Tensor = self.loss(logits, part.labels)
            if self._mixes:
                loss = part.share * loss + (1 - part.share) * self.loss(logits, part.others)
            value = loss.item()
            if not math.isfinite(value):
                raise NotFinite(f"The loss became {value}.")
            (share * loss).backward()  # type: ignore[no-untyped-call]
            loss_sum += share * value
            hits += right(logits, part.labels if part.share >= 0.5 else part.others)
        return loss_sum, hits

    def _logits(self, given: torch.Tensor, is_watched: bool) -> torch.Tensor:
        features = self.model.features(self.source.at_cut(given))
        for noise in self._noises:
            features = noise.perturb(features)
        logits: torch.Tensor = self.diagnostics.through(features) if is_watched else self.model.head(features)
        return logits

    def _clip(self) -> None:
        self._steps += 1
        if self.recipe.gradient_clipping is not None:
            self._clipped += self.recipe.gradient_clipping.clip(self._parameters())

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _alone(self, given: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        """A last batch of one image has no variance to normalize by: nothing is learned from it."""
        with self.model.still(), torch.no_grad():
            logits = self.model(self.source.at_cut(given))
        return self.loss(logits, labels).item(), right(logits, labels)


def _laid_out(moment: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A moment that lies in memory as its parameter does: fused kernels take for granted that it does."""
    return torch.empty_like(parameter).copy_(moment) if moment.shape == parameter.shape else moment


@dataclass(frozen=True)
class _Batch:
    """Rows, each mixed with another: the loss is share·loss(labels) + (1 - share)·loss(others)."""

    rows: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float

    def split(self, parts: int) -> Iterator[_Batch]:
        tensors = (tensor.tensor_split(parts) for tensor in (self.rows, self.labels, self.others))
        for rows, labels, others in zip(*tensors, strict=True):
            yield _Batch(rows, labels, others, self.share)
