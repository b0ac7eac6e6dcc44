"""Training of a new head, and of the stages above the cut, on what a frozen trunk gives."""

from __future__ import annotations

import copy
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from models.averaging import Average
from models.catalog.mixing import BatchAugmentation, FeatureAugmentation
from models.catalog.regularizers import Constraint, Penalty
from models.doctor import Doctor
from models.evaluation import right
from models.events import Diagnosed, EpochEnded, Noted
from models.features import said_of_plain_views
from models.growth import Growth
from models.limit import NONE
from models.reproducibility import seed_epoch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np

    from models.catalog.recipe import Recipe
    from models.events import StopReason
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted
    from models.limit import Limit

RETRY_FACTOR = 0.1
"""How much smaller the learning rate is after training has diverged."""


class TrainingDiverged(Exception):
    """The loss became NaN or infinite, again after it was retried with a smaller rate."""


class _NotFinite(TrainingDiverged):
    """The loss of a step or of validation is NaN or infinite, for the first time."""


@dataclass(frozen=True)
class Step:
    """One step of the optimizer is done: how many pictures it took, and how many of them had to be computed."""

    pictures: int
    computed: int


class Training:
    """One run of training: iterate over `epochs()`, then ask for what the best epoch gave."""

    def __init__(
        self,
        recipe: Recipe,
        classes: list[str],
        grafted: Grafted,
        source: Source,
        train: Examples,
        validation: Examples,
        limit: Limit = NONE,
    ) -> None:
        """Needs a resolved recipe."""
        self.recipe, self.grafted, self.source = recipe, grafted, source
        self.train, self.validation, self.limit = train, validation, limit
        device = grafted.device
        self._targets = torch.from_numpy(train.labels)
        self._labels = self._targets.new_zeros((int(train.pictures.max()) + 1, *train.labels.shape[1:]))
        self._labels[torch.from_numpy(train.pictures)] = self._targets
        self._validation_labels = torch.from_numpy(validation.labels)
        assert recipe.loss != "auto"
        self.loss = recipe.loss.build(classes).to(device)
        self.optimizer = recipe.optimizer.build(grafted.groups(recipe))
        self._rates: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        self._retried = False
        self._steps = self._clipped = 0
        self._average = Average(recipe.averaging, grafted) if recipe.averaging is not None else None
        self._mixes = [a for a in recipe.augmentations if isinstance(a, BatchAugmentation)]
        self._noises = [a for a in recipe.augmentations if isinstance(a, FeatureAugmentation)]
        self._weights = grafted.weights()
        self._penalties = [r for r in recipe.regularizers if isinstance(r, Penalty)]
        self._constraints = [r for r in recipe.regularizers if isinstance(r, Constraint)]
        assert recipe.task != "auto"
        self.doctor = Doctor(grafted, recipe.steps(len(train.pictures)), recipe.task)
        self.losses: list[float] = []
        """Validation loss of each epoch so far."""
        is_fixed = source.is_cached and not grafted.division.stages and len(validation.pictures) <= source.read_batch
        self._held = grafted.sample(source, validation.pictures) if is_fixed else None
        """Features of the validation pictures, where they stay the same."""
        stopping = recipe.early_stopping
        self.growth = Growth(recipe.cache.most, bool(recipe.cache.grow), stopping.patience if stopping else None)
        self._grown = 0
        """The epoch after which the newest view was added."""
        self.best_epoch = 0
        try:
            self.initial_accuracy = self._validate()[1]
        except _NotFinite:
            raise TrainingDiverged(
                "The loss is infinite or NaN before the first step: set head.initializer to auto, or give head.hidden "
                "fewer layers."
            ) from None
        self.stop_reason: StopReason = "epochs_done"
        self._best: float | None = None
        self._best_state = grafted.learned()

    def epochs(self) -> Iterator[Step | EpochEnded | Noted | Diagnosed]:
        """Train until the last epoch, or until there is a reason to stop; what is grafted is then that of the best.

        Gives each step and, after the steps of an epoch, the epoch and what the doctor says of it.

        Raises TrainingDiverged.
        """
        assert isinstance(self.recipe.epochs, int)
        for epoch in range(1, self.recipe.epochs + 1):
            ended = yield from self._epoch_or_retry(epoch)
            self.losses.append(ended.validation_loss)
            yield ended
            yield from self.doctor.examine(ended)
            if self.growth.saw(ended):
                self._grown = epoch
                self.grafted.load_state_dict(self._best_state)
                yield Noted(
                    kind="view_added",
                    message=f"The validation loss improves no more: augmented view {self.growth.views} is added",
                    data={"view": self.growth.views},
                )
            reason = self._reason_to_stop(ended)
            if reason is not None:
                self.stop_reason = reason
                break
        self.grafted.load_state_dict(self._best_state)
        yield from self.doctor.discharge(self.stop_reason, self._clipped_share)

    @property
    def _clipped_share(self) -> float | None:
        """Share of the steps whose gradient was clipped; none where nothing clips."""
        return None if self.recipe.gradient_clipping is None else self._clipped / max(self._steps, 1)

    def validation_logits(self) -> np.ndarray:
        """What the network says about the validation pictures, (n, C)."""
        self.grafted.eval()
        with torch.no_grad():
            if self._held is None:
                logits = torch.cat(list(said_of_plain_views(self.grafted, self.source, self.validation.pictures)))
            else:
                logits = self.grafted.head(self._held)
        said: np.ndarray = logits.cpu().numpy()
        return said

    def _epoch_or_retry(self, epoch: int) -> Generator[Step | Noted, None, EpochEnded]:
        """An epoch; one that diverges is tried again with a smaller rate, once in a training."""
        if self._retried:
            return (yield from self._last_try(epoch))
        before = self.grafted.learned(), copy.deepcopy(self.optimizer.state_dict())
        steps, clipped = self._steps, self._clipped
        average = None if self._average is None else self._average.copy()
        try:
            return (yield from self._epoch(epoch))
        except _NotFinite:
            self._retried = True
        self.grafted.load_state_dict(before[0])
        self.optimizer.load_state_dict(before[1])
        self._average = average
        self._steps, self._clipped = steps, clipped
        self._rates = [rate * RETRY_FACTOR for rate in self._rates]
        yield self.doctor.diverged(epoch, self._rates[0])
        return (yield from self._last_try(epoch))

    def _last_try(self, epoch: int) -> Generator[Step, None, EpochEnded]:
        try:
            return (yield from self._epoch(epoch))
        except _NotFinite:
            raise TrainingDiverged(
                f"The loss became infinite or NaN in epoch {epoch}, with the rate made ten times smaller already; "
                "choose a smaller learning rate (optimizer.lr), or clip the gradients (gradient_clipping)."
            ) from None

    def _epoch(self, epoch: int) -> Generator[Step, None, EpochEnded]:
        began = time.perf_counter()
        view = self.source.view(epoch, self.growth.views)
        before = replace(self.source.counts)
        seed_epoch(self.recipe.seed, epoch)
        order = self.train.pictures[self.recipe.sampling.order(self._targets).numpy()]
        self.grafted.start_epoch(self.recipe, epoch)
        seen = correct = computed = 0
        loss_sum = lr = 0.0
        for number, (pictures, rows) in enumerate(self.source.batches(order, view, self.recipe.pictures_per_step)):
            lr = self._set_rates(epoch - 1 + number * self.recipe.pictures_per_step / len(order))
            labels = self._labels[torch.from_numpy(pictures)].to(self.grafted.device)
            loss, hits = self._step(self.source.given(rows), labels, lr, number)
            seen += len(labels)
            loss_sum += loss * len(labels)
            correct += hits
            now = self.source.counts.misses - before.misses
            yield Step(len(labels), now - computed)
            computed = now
            if self.limit.reason is not None:
                break
        with self._average.applied() if self._average is not None else nullcontext():
            validation_loss, validation_accuracy = self._validate()
            ended = EpochEnded(
                epoch=epoch,
                view=view,
                train_loss=loss_sum / seen,
                train_accuracy=correct / seen,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                lr=lr,
                seconds=time.perf_counter() - began,
                cache_hits=self.source.counts.hits - before.hits,
                cache_misses=self.source.counts.misses - before.misses,
            )
            self._keep_if_best(ended)
        return ended

    def _set_rates(self, epoch: float) -> float:
        """The rates of all groups after so many epochs; gives the head's."""
        assert isinstance(self.recipe.epochs, int)
        factor = self.recipe.schedule.factor(epoch, self.recipe.epochs, self.losses)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        return self._rates[0] * factor

    def _step(self, given: torch.Tensor, labels: torch.Tensor, lr: float, number: int) -> tuple[float, int]:
        """One step of the optimizer; gives the loss, without penalties, and how many pictures were right."""
        if len(labels) == 1 and self.grafted.needs_two:
            return self._alone(given, labels)
        is_watched = self.doctor.looks_at(number)
        loss, hits = self._forward(given, labels, is_watched)
        value = loss.item()
        if not math.isfinite(value):
            raise _NotFinite(f"The loss became {value}.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if is_watched:
            self.doctor.feel()  # the gradient of the loss alone: that of a penalty never vanishes
        for term in self._penalties:
            term.penalty(self._weights).backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimizer.step()
        with torch.no_grad():
            for constraint in self._constraints:
                constraint.constrain(self._weights, lr)
        if self._average is not None:
            self._average.update()
        return value, hits

    def _forward(self, given: torch.Tensor, labels: torch.Tensor, is_watched: bool) -> tuple[torch.Tensor, int]:
        """Loss of a batch, mixed and disturbed as the recipe has it, and how many are right: of mixed pictures, about
        that which has the greater share."""
        mixed = None
        if self._mixes:
            mixed = self._mixes[int(torch.randint(len(self._mixes), ()))].mix(given)
            given = mixed.rows
        features = self.grafted.features(self.source.at_cut(given))
        for noise in self._noises:
            features = noise.disturb(features)
        logits = self.doctor.through(features) if is_watched else self.grafted.head(features)
        loss: torch.Tensor = self.loss(logits, labels)
        if mixed is not None:
            loss = mixed.share * loss + (1 - mixed.share) * self.loss(logits, labels[mixed.partners])
            labels = labels if mixed.share >= 0.5 else labels[mixed.partners]
        return loss, right(logits, labels)

    def _clip(self) -> None:
        self._steps += 1
        if self.recipe.gradient_clipping is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._clipped += self.recipe.gradient_clipping.clip(parameters)

    def _alone(self, given: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        """A last batch of one picture has no variance to normalize by: nothing is learned from it."""
        with self.grafted.still(), torch.no_grad():
            logits = self.grafted(self.source.at_cut(given))
        return self.loss(logits, labels).item(), right(logits, labels)

    def _validate(self) -> tuple[float, float]:
        logits = torch.from_numpy(self.validation_logits()).to(self.grafted.device)
        labels = self._validation_labels.to(self.grafted.device)
        loss = self.loss(logits, labels).item()
        if not math.isfinite(loss):
            raise _NotFinite(f"The validation loss became {loss}.")
        return loss, right(logits, labels) / len(labels)

    def _keep_if_best(self, ended: EpochEnded) -> None:
        stopping = self.recipe.early_stopping
        if stopping is None:
            better, value = True, ended.validation_loss
        else:
            value = getattr(ended, stopping.metric)
            better = stopping.improved(value, self._best) or self._reaches_target(ended)
        if better:
            self._best, self.best_epoch = value, ended.epoch
            self._best_state = self.grafted.learned()

    def _reaches_target(self, ended: EpochEnded) -> bool:
        target = self.recipe.target
        return target is not None and target.reached(getattr(ended, target.metric))

    def _reason_to_stop(self, ended: EpochEnded) -> StopReason | None:
        stopping = self.recipe.early_stopping
        if self._reaches_target(ended):
            return "target_reached"
        if (reached := self.limit.reason) is not None:
            return reached
        since = ended.epoch - max(self.best_epoch, self._grown)
        if stopping is not None and since >= stopping.patience and self.growth.is_over:
            return "early_stopping"
        return None
