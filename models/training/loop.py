"""Training of a new head, and of the stages above the cut, on what a frozen trunk gives."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from models.evaluation.metrics import right
from models.features.sources import forward_plain_views
from models.messages import Diagnosed, EpochEnded, Noted
from models.runtime.micro_batches import report_micro_batches
from models.runtime.rng import draw_on, random_state, seed_epoch
from models.runtime.stop_condition import NONE
from models.training.diagnostics import Diagnostics
from models.training.epoch_totals import EpochTotals
from models.training.step import NotFinite, TrainStep
from models.training.view_schedule import ViewSchedule

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.messages import StopReason
    from models.runtime.stop_condition import StopCondition
    from models.training.model import TrainableModel
    from models.training.subset import Subset

RETRY_FACTOR = 0.1
"""How much smaller the learning rate is after training has diverged."""


class TrainingDiverged(Exception):
    """The loss became NaN or infinite, again after it was retried with a smaller rate."""

    code = "training_diverged"


@dataclass(frozen=True)
class Step:
    """One step of the optimizer is done: how many images it took, and how many of them had to be computed."""

    images: int
    computed: int


@dataclass(frozen=True)
class Rest:
    """An epoch is over, and all that follows from it."""


class Training:
    """One run of training: iterate over `epochs()`, then ask for what the best epoch gave."""

    def __init__(
        self,
        recipe: Recipe,
        classes: list[str],
        model: TrainableModel,
        source: FeatureSource,
        train: Subset,
        validation: Subset,
        stop_condition: StopCondition = NONE,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Needs a resolved recipe. Goes on from a `state` that `state()` gave, where there is one."""
        self.recipe, self.model, self.source = recipe, model, source
        self.train, self.validation, self.stop_condition = train, validation, stop_condition
        self._targets = torch.from_numpy(train.labels)
        self._labels = self._targets.new_zeros((int(train.images.max()) + 1, *train.labels.shape[1:]))
        self._labels[torch.from_numpy(train.images)] = self._targets
        self._validation_labels = torch.from_numpy(validation.labels)
        assert recipe.task != "auto"
        self.diagnostics = Diagnostics(model, recipe.steps(len(train.images)), recipe.task)
        self.train_step = TrainStep(recipe, classes, model, source, self.diagnostics)
        self._retried = False
        self.losses: list[float] = []
        """Validation loss of each epoch so far."""
        is_fixed = source.is_cached and not model.cut_network.stages and len(validation.images) <= source.read_batch
        self._held = model.sample(source, validation.images) if is_fixed else None
        """Features of the validation images, where they stay the same."""
        stopping = recipe.early_stopping
        self.view_schedule = ViewSchedule(
            recipe.cache.most, bool(recipe.cache.grow), stopping.patience if stopping else None
        )
        self._grown = 0
        """The epoch after which the newest view was added."""
        self.best_epoch = 0
        self._best: float | None = None
        self._ended_for: StopReason | None = None
        self._running: EpochTotals | None = None
        """Of the epoch that is not over."""
        self._start: dict[str, Any] | None = None
        """What it started from, as long as it could be tried again."""
        self._draws: dict[str, torch.Tensor] | None = None
        """What is drawn next in an epoch that goes on."""
        if state is not None:
            self._load(state)
            return
        try:
            self.initial_accuracy = self._validate()[1]
        except NotFinite:
            raise TrainingDiverged(
                "The loss is infinite or NaN before the first step: set head.initializer to auto, or give head.hidden "
                "fewer layers."
            ) from None
        self._best_state = model.learned()

    @property
    def stop_reason(self) -> StopReason:
        """Why it ended."""
        return self._ended_for or "epochs_done"

    @property
    def epochs_done(self) -> int:
        """How many epochs are over."""
        return len(self.losses)

    @property
    def trained(self) -> tuple[int, int]:
        """Steps and images that it has done."""
        totals, images = self._running or EpochTotals(), len(self.train.images)
        steps = self.epochs_done * self.recipe.steps(images) + totals.steps
        return steps, self.epochs_done * images + totals.seen

    def epochs(self) -> Iterator[Step | EpochEnded | Noted | Diagnosed | Rest]:
        """Train until the last epoch, or until there is a reason to stop; what is grafted is then that of the best.

        Gives each step and, after the steps of an epoch, the epoch, what the doctor says of it, and a rest. `state()`
        may be asked for after a step and at a rest.

        Raises TrainingDiverged.
        """
        assert isinstance(self.recipe.epochs, int)
        while self._ended_for is None and self.epochs_done < self.recipe.epochs:
            ended = yield from self._epoch_or_retry(self.epochs_done + 1)
            self.losses.append(ended.validation_loss)
            yield ended
            yield from self.diagnostics.examine(ended)
            if self.view_schedule.saw(ended):
                self._grown = ended.epoch
                self.model.load_state_dict(self._best_state)
                yield Noted(
                    kind="view_added",
                    message=f"The validation loss improves no more: augmented view {self.view_schedule.views} is added",
                    data={"view": self.view_schedule.views},
                )
            self._ended_for = self._reason_to_stop(ended)
            yield Rest()
        self.model.load_state_dict(self._best_state)
        yield from self.diagnostics.final_findings(self.stop_reason, self.train_step.clipped_share)

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on; its tensors go on changing."""
        running = None
        if self._running is not None:
            running = {"tally": asdict(self._running), "start": self._start, "draws": random_state()}
        return {
            "learned": self.model.state_dict(),
            "best": {"learned": self._best_state, "value": self._best, "epoch": self.best_epoch},
            "initial_accuracy": self.initial_accuracy,
            "losses": self.losses,
            "ended_for": self._ended_for,
            "retried": self._retried,
            "descent": self.train_step.state(),
            "doctor": self.diagnostics.state(),
            "view_schedule": self.view_schedule.state(),
            "grown": self._grown,
            "running": running,
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["learned"])
        best = state["best"]
        self._best_state, self._best, self.best_epoch = best["learned"], best["value"], best["epoch"]
        self.initial_accuracy, self.losses = state["initial_accuracy"], state["losses"]
        self._ended_for, self._retried, self._grown = state["ended_for"], state["retried"], state["grown"]
        self.train_step.load(state["descent"])
        self.diagnostics.load(state["doctor"])
        self.view_schedule.load(state["view_schedule"])
        if (running := state["running"]) is not None:
            self._running, self._start, self._draws = (
                EpochTotals(**running["tally"]),
                running["start"],
                running["draws"],
            )

    def validation_logits(self) -> np.ndarray:
        """What the network says about the validation images, (n, C)."""
        self.model.eval()
        with torch.no_grad():
            if self._held is None:
                logits = torch.cat(list(forward_plain_views(self.model, self.source, self.validation.images)))
            else:
                logits = self.model.head(self._held)
        said: np.ndarray = logits.cpu().numpy()
        return said

    def _epoch_or_retry(self, epoch: int) -> Generator[Step | Noted, None, EpochEnded]:
        """An epoch; one that diverges is tried again with a smaller rate, once in a training."""
        if self._running is None and not self._retried:
            self._start = {"learned": self.model.learned(), "descent": copy.deepcopy(self.train_step.state())}
        if self._retried:
            return (yield from self._last_try(epoch))
        try:
            return (yield from self._epoch(epoch))
        except NotFinite:
            self._retried = True
        assert self._start is not None
        self.model.load_state_dict(self._start["learned"])
        self.train_step.load(self._start["descent"])
        self.train_step.slow_down(RETRY_FACTOR)
        self._running = self._start = None
        yield self.diagnostics.diverged(epoch, self.train_step.rate)
        return (yield from self._last_try(epoch))

    def _last_try(self, epoch: int) -> Generator[Step | Noted, None, EpochEnded]:
        try:
            return (yield from self._epoch(epoch))
        except NotFinite:
            raise TrainingDiverged(
                f"The loss became infinite or NaN in epoch {epoch}, with the rate made ten times smaller already; "
                "choose a smaller learning rate (optimizer.lr), or clip the gradients (gradient_clipping)."
            ) from None

    def _epoch(self, epoch: int) -> Generator[Step | Noted, None, EpochEnded]:
        """The epoch, or what is left of it."""
        self._running = totals = self._running or EpochTotals()
        view = self.source.view(epoch, self.view_schedule.views)
        yield from self._steps(epoch, view, totals)
        began, before = time.perf_counter(), replace(self.source.counts)
        with self.train_step.averaged():
            validation_loss, validation_accuracy = self._validate()
            ended = EpochEnded(
                epoch=epoch,
                view=view,
                train_loss=totals.loss_sum / totals.seen,
                train_accuracy=totals.correct / totals.seen,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                lr=totals.lr,
                seconds=totals.seconds + time.perf_counter() - began,
                cache_hits=totals.hits + self.source.counts.hits - before.hits,
                cache_misses=totals.misses + self.source.counts.misses - before.misses,
            )
            self._keep_if_best(ended)
        self._running = self._start = None
        return ended

    def _steps(self, epoch: int, view: int, totals: EpochTotals) -> Iterator[Step | Noted]:
        """The steps of an epoch that are left."""
        began = time.perf_counter()
        counts = self.source.counts
        seed_epoch(self.recipe.seed, epoch)
        order = self.train.images[self.recipe.sampling.draw_order(self._targets).numpy()]
        self.model.start_epoch(self.recipe, epoch)
        if self._draws is not None:
            draw_on(self._draws)
            self._draws = None
        before, size = replace(counts), self.recipe.images_per_step
        for images, rows in self.source.batches(order[totals.seen :], view, size):
            parts = self.train_step.parts.count
            factor = self._factor(epoch - 1 + totals.seen / len(order))
            labels = self._labels[torch.from_numpy(images)].to(self.model.device)
            loss, hits = self.train_step.step(self.source.given(rows), labels, factor, totals.steps)
            computed = counts.misses - before.misses
            now = time.perf_counter()
            totals.steps += 1
            totals.seen += len(labels)
            totals.correct += hits
            totals.loss_sum += loss * len(labels)
            totals.lr = self.train_step.rate * factor
            totals.hits += counts.hits - before.hits
            totals.misses += computed
            totals.seconds += now - began
            before, began = replace(counts), now
            yield Step(len(labels), computed)
            if self.train_step.parts.count > parts:
                yield report_micro_batches(self.train_step.parts, size)
            if self.stop_condition.reason is not None:
                break

    def _factor(self, epoch: float) -> float:
        """What the schedule multiplies the rates by after so many epochs."""
        assert isinstance(self.recipe.epochs, int)
        return self.recipe.schedule.compute_factor(epoch, self.recipe.epochs, self.losses)

    def _validate(self) -> tuple[float, float]:
        logits = torch.from_numpy(self.validation_logits()).to(self.model.device)
        labels = self._validation_labels.to(self.model.device)
        loss = self.train_step.loss(logits, labels).item()
        if not math.isfinite(loss):
            raise NotFinite(f"The validation loss became {loss}.")
        return loss, right(logits, labels) / len(labels)

    def _keep_if_best(self, ended: EpochEnded) -> None:
        stopping = self.recipe.early_stopping
        if stopping is None:
            better, value = True, ended.validation_loss
        else:
            value = getattr(ended, stopping.metric)
            better = stopping.is_improvement(value, self._best) or self._reaches_target(ended)
        if better:
            self._best, self.best_epoch = value, ended.epoch
            self._best_state = self.model.learned()

    def _reaches_target(self, ended: EpochEnded) -> bool:
        target = self.recipe.target
        return target is not None and target.is_reached(getattr(ended, target.metric))

    def _reason_to_stop(self, ended: EpochEnded) -> StopReason | None:
        stopping = self.recipe.early_stopping
        if self._reaches_target(ended):
            return "target_reached"
        if (reached := self.stop_condition.reason) is not None:
            return reached
        since = ended.epoch - max(self.best_epoch, self._grown)
        if stopping is not None and since >= stopping.patience and self.view_schedule.is_over:
            return "early_stopping"
        return None
