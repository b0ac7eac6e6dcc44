"""One optimizer step, and the optimizer's state."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.catalog.mixup import BatchAugmentation, FeatureAugmentation
from models.catalog.regularizers import Constraint, Penalty
from models.evaluation.metrics import count_correct
from models.runtime.micro_batches import MicroBatches
from models.runtime.rng import get_random_state, set_random_state
from models.training.ema import MovingAverage
from models.training.perturbation import perturb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from models.training.diagnostics import Diagnostics
    from models.training.inputs import TrainingRun
    from models.training.targets import Targets


class NotFinite(Exception):
    """A loss is NaN or infinite."""


@dataclass
class EpochTotals:
    """Sums over the steps of a running epoch."""

    steps: int = 0
    seen: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    lr: float = 0.0
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0


class TrainStep:
    """Optimizer steps on the trained parameters: mixing, loss, penalties, clipping, constraints, moving average.

    With sharpness-aware minimization, the gradient of the loss is that of perturbed weights; penalties, as in the
    paper, are those of the weights themselves.
    """

    def __init__(self, run: TrainingRun, diagnostics: Diagnostics) -> None:
        recipe, model = run.recipe, run.model
        self.recipe, self.model, self.source, self.diagnostics = recipe, model, run.source, diagnostics
        self.loss, self._distillation = run.build_loss(), run.build_distillation()
        self.optimizer = model.build_optimizer(recipe)
        self._rates: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        self._average = MovingAverage(recipe.averaging, model) if recipe.averaging is not None else None
        self._steps = self._clipped = 0
        self.micro_batches = MicroBatches()
        self._mixes = [a for a in recipe.augmentations if isinstance(a, BatchAugmentation)]
        self._noises = [a for a in recipe.augmentations if isinstance(a, FeatureAugmentation)]
        self._weights = model.regularized_weights
        self._penalties = [r for r in recipe.regularizers if isinstance(r, Penalty)]
        self._constraints = [r for r in recipe.regularizers if isinstance(r, Constraint)]

    @property
    def lr(self) -> float:
        """The learning rate of the head, before a schedule."""
        return self._rates[0]

    @property
    def clipped_share(self) -> float | None:
        """Share of the steps whose gradient was clipped; None where the recipe does not clip."""
        return None if self.recipe.gradient_clipping is None else self._clipped / max(self._steps, 1)

    def scale_rates(self, factor: float) -> None:
        """Multiply all learning rates by `factor` from now on."""
        self._rates = [rate * factor for rate in self._rates]

    def use_average(self) -> AbstractContextManager[None]:
        """Give the model its moving average for weights in a `with` block, where the recipe averages."""
        return nullcontext() if self._average is None else self._average.swap_in()

    def step(self, inputs: torch.Tensor, targets: Targets, factor: float, number: int) -> tuple[float, int]:
        """Do one step at the learning rates times `factor`; `number` counts the steps of the epoch.

        Returns the loss without penalties, and how many images were classified correctly. Raises NotFinite.
        """
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        if len(inputs) == 1 and self.model.needs_two:
            return self._evaluate(_Batch(inputs, targets.labels, targets.labels, 1.0, targets.soft))
        is_watched = self.diagnostics.is_watching(number)
        loss, correct = self._compute_gradient(self._mix(inputs, targets), is_watched)
        for term in self._penalties:
            term.compute_penalty(self._weights).backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimizer.step()
        with torch.no_grad():
            for constraint in self._constraints:
                constraint.constrain(self._weights, self._rates[0] * factor)
        if self._average is not None:
            self._average.update()
        return loss, correct

    def state_dict(self) -> dict[str, Any]:
        """State to resume from, without the model's and the random state; its tensors are shared, not copied."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "moments": {str(place): dict(values) for place, values in moments.items()},
            "rates": self._rates,
            "average": None if self._average is None else self._average.state_dict(),
            "counts": [self._steps, self._clipped],
            "micro_batches": self.micro_batches.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self.load_moments(state)
        self._rates = list(state["rates"])
        self._steps, self._clipped = state["counts"]
        self.micro_batches.count = state["micro_batches"]

    def copy_moments(self) -> dict[str, Any]:
        """Copy what steps have gathered about the weights: the optimizer's moments, and the moving average."""
        state = self.state_dict()
        return copy.deepcopy({"moments": state["moments"], "average": state["average"]})

    def load_moments(self, state: dict[str, Any]) -> None:
        """Restore what `copy_moments()` gave."""
        parameters = self._parameters()
        moments = {
            int(place): {name: align_moment(value, parameters[int(place)]) for name, value in values.items()}
            for place, values in state["moments"].items()
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        if self._average is not None:
            self._average.load_state_dict(state["average"])

    def _compute_gradient(self, batch: _Batch, is_watched: bool) -> tuple[float, int]:
        """Compute the gradient of the whole batch, in micro-batches if memory is short."""
        most = len(batch.labels) // (2 if self.model.needs_two else 1)
        return self.micro_batches.run(lambda count: self._run_passes(batch, count, is_watched), most)

    def _run_passes(self, batch: _Batch, count: int, is_watched: bool) -> tuple[float, int]:
        """Compute the gradient in `count` parts; returns what the unperturbed weights give."""
        sharpness, device = self.recipe.sharpness, self.model.device
        state = None if sharpness is None else get_random_state(device)
        result = self._accumulate(batch, count, is_watched)
        if is_watched:
            self.diagnostics.record_gradients()  # the gradient of the loss alone: that of a penalty never vanishes
        if sharpness is not None and state is not None:
            with perturb(sharpness, self.model, self._parameters()):
                set_random_state(state, device)  # dropout and noise are those of the first pass
                self._accumulate(batch, count, is_watched=False)
        return result

    def _mix(self, inputs: torch.Tensor, targets: Targets) -> _Batch:
        labels, soft = targets
        if not self._mixes:
            return _Batch(inputs, labels, labels, 1.0, soft)
        mixed = self._mixes[int(torch.randint(len(self._mixes), ()))].mix(inputs)
        if soft is not None:
            soft = mixed.share * soft + (1 - mixed.share) * soft[mixed.partners]
        return _Batch(mixed.rows, labels, labels[mixed.partners], mixed.share, soft)

    def _accumulate(self, batch: _Batch, count: int, is_watched: bool) -> tuple[float, int]:
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum, correct = 0.0, 0
        for part in batch.split(count):
            share = len(part.labels) / len(batch.labels)
            logits = self._forward(part.inputs, is_watched)
            loss = self._compute_loss(logits, part)
            value = loss.item()
            if not math.isfinite(value):
                raise NotFinite(f"The loss became {value}.")
            (share * loss).backward()  # type: ignore[no-untyped-call]
            loss_sum += share * value
            correct += count_correct(logits, part.labels if part.share >= 0.5 else part.others)
        return loss_sum, correct

    def _compute_loss(self, logits: torch.Tensor, part: _Batch) -> torch.Tensor:
        loss: torch.Tensor = self.loss(logits, part.labels)
        if self._mixes:
            loss = part.share * loss + (1 - part.share) * self.loss(logits, part.others)
        if self._distillation is not None and part.soft is not None:
            loss = self._distillation(loss, logits, part.soft)
        return loss

    def _forward(self, inputs: torch.Tensor, is_watched: bool) -> torch.Tensor:
        features = self.model.forward_features(self.source.forward_trunk(inputs))
        for noise in self._noises:
            features = noise.perturb(features)
        logits: torch.Tensor = self.diagnostics.forward(features) if is_watched else self.model.head(features)
        return logits

    def _clip(self) -> None:
        self._steps += 1
        if self.recipe.gradient_clipping is not None:
            self._clipped += self.recipe.gradient_clipping.clip(self._parameters())

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _evaluate(self, batch: _Batch) -> tuple[float, int]:
        """Compute loss and hits of a batch of one image, which has no variance to learn from with BatchNorm."""
        with self.model.evaluating(), torch.no_grad():
            logits = self.model(self.source.forward_trunk(batch.inputs))
        return self._compute_loss(logits, batch).item(), count_correct(logits, batch.labels)


def align_moment(moment: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Copy an optimizer's moment to the memory layout of its parameter, which fused kernels require."""
    return torch.empty_like(parameter).copy_(moment) if moment.shape == parameter.shape else moment.clone()


@dataclass(frozen=True)
class _Batch:
    """Mixed batch: the loss is share·loss(labels) + (1 - share)·loss(others)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float
    soft: torch.Tensor | None
    """(B, C), of a teacher, mixed as the labels are."""

    def split(self, count: int) -> Iterator[_Batch]:
        tensors = (tensor.tensor_split(count) for tensor in (self.inputs, self.labels, self.others))
        softs = [None] * count if self.soft is None else self.soft.tensor_split(count)
        for inputs, labels, others, soft in zip(*tensors, softs, strict=True):
            yield _Batch(inputs, labels, others, self.share, soft)
