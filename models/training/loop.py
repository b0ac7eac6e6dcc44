"""The training loop: epochs, validation, the best epoch, early stopping and resumption."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from models.messages import Diagnosed, EpochEnded, Noted
from models.runtime.micro_batches import report_micro_batches
from models.runtime.rng import get_random_state, seed_epoch, set_random_state
from models.training.diagnostics import Diagnostics
from models.training.interpolation import select_between
from models.training.kept_epochs import KeptEpochs
from models.training.selection import Selection
from models.training.step import EpochTotals, NotFinite, TrainStep
from models.training.targets import TargetTable
from models.training.validator import Validator
from models.training.view_schedule import ViewSchedule

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np
    import torch

    from models.messages import StopReason
    from models.training.inputs import TrainingRun
    from models.training.lda import FittedLDA

RETRY_FACTOR = 0.1
"""How much smaller the learning rate is after training has diverged."""


class TrainingDiverged(Exception):
    """The loss became NaN or infinite, again after it was retried with a smaller rate."""

    code = "training_diverged"


@dataclass(frozen=True)
class Step:
    """One optimizer step was done: how many images it took, and how many of them had to be computed."""

    images: int
    computed: int


@dataclass(frozen=True)
class EpochComplete:
    """An epoch is complete: validated, compared with the best, and its view schedule updated."""


class Training:
    """Training loop over epochs: iterate over `train()`; the model then has the weights that are selected."""

    def __init__(self, run: TrainingRun, state: dict[str, Any] | None = None, *, lda: FittedLDA | None = None) -> None:
        """Start before the first step, or where `state_dict()` gave `state`. Raises TrainingDiverged.

        `lda`: a classifier for the linear head, to compare with.
        """
        self.run, self.recipe, self.model, self.source = run, run.recipe, run.model, run.source
        self._targets = TargetTable(run)
        self.diagnostics = Diagnostics(run.model, run.recipe.count_steps(len(run.train.images)), run.recipe.task)
        self.train_step = TrainStep(run, self.diagnostics)
        self._has_retried = False
        self.losses: list[float] = []
        """Validation loss of each epoch so far."""
        self._validator = Validator(run)
        stopping = self.recipe.early_stopping
        self.view_schedule = ViewSchedule(
            self.recipe.cache.most, bool(self.recipe.cache.grow), stopping.patience if stopping else None
        )
        self._view_added = 0
        """The epoch after which the newest view was added."""
        interpolates = self.recipe.interpolates and stopping is not None
        self.selection = Selection(stopping, interpolates=interpolates)
        self.kept = KeptEpochs(self.recipe.keep)
        self._improved_state: dict[str, Any] | None = None
        """The state of the last epoch that improved, for training to go on from when a view is added."""
        self._start: dict[str, torch.Tensor] | None = None
        """The weights before the first step, where those between them and the best epoch's are tried."""
        self.validation_logits: np.ndarray
        """The logits of the validation images by the weights in use, (n, C); `train()` ends with the selected."""
        self._stop_reason: StopReason | None = None
        self._running: EpochTotals | None = None
        """Sums over an epoch that is not over."""
        self._epoch_start: dict[str, Any] | None = None
        """The state at the start of the epoch, as long as it could be tried again."""
        self._random_state: dict[str, torch.Tensor] | None = None
        """The random state within a resumed epoch."""
        if state is not None:
            self._load(state)
            return
        try:
            start = self._validator.add_baselines(self.selection, self.train_step.loss, lda)
        except NotFinite:
            raise TrainingDiverged(
                "The loss is infinite or NaN before the first step: set head.initializer to auto, or give head.hidden "
                "fewer layers."
            ) from None
        self.initial_accuracy = start.accuracy
        if interpolates:
            self._start = self.model.copy_state()

    @property
    def stop_reason(self) -> StopReason:
        """Reason why training ended."""
        return self._stop_reason or "epochs_done"

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are selected; 0 if they are a baseline's."""
        return self.selection.epoch

    @property
    def epochs_done(self) -> int:
        """The number of epochs that are over."""
        return len(self.losses)

    @property
    def done(self) -> tuple[int, int]:
        """Steps done and images trained on so far."""
        totals, images = self._running or EpochTotals(), len(self.run.train.images)
        steps = self.epochs_done * self.recipe.count_steps(images) + totals.steps
        return steps, self.epochs_done * images + totals.seen

    def train(self) -> Iterator[Step | EpochEnded | Noted | Diagnosed | EpochComplete]:
        """Train until the last epoch, or until there is a reason to stop; the model then has the selected weights.

        Yields each step and, after the steps of an epoch, its figures, its diagnosis, and EpochComplete. `state_dict()`
        may be asked for after a step and after EpochComplete.

        Raises TrainingDiverged.
        """
        while self._stop_reason is None and self.epochs_done < self.recipe.epochs:
            ended = yield from self._epoch_or_retry(self.epochs_done + 1)
            self.losses.append(ended.validation_loss)
            yield ended
            yield from self.diagnostics.examine(ended)
            if self.view_schedule.update(ended):
                self._view_added = ended.epoch
                self._return_to_improved()
                yield Noted(
                    kind="view_added",
                    message=f"The validation loss improves no more: augmented view {self.view_schedule.views} is added",
                    data={"view": self.view_schedule.views},
                )
            self._stop_reason = self._find_reason_to_stop(ended)
            yield EpochComplete()
        if self._start is not None:
            yield select_between(self._start, self.selection, self._validator, self.train_step.loss)
        elif self.selection.name != "epoch":
            yield self.selection.report_baseline()
        self.use_weights(self.selection.state)
        recalls = self._validator.measure_recalls(self.validation_logits)
        yield from self.diagnostics.final_findings(
            self.stop_reason, self.train_step.clipped_share, self.selection, recalls
        )

    def use_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Load weights of an epoch into the model, and compute its logits of the validation images."""
        self.model.load_state_dict(state)
        self.validation_logits = self._validator.compute_logits().cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; its tensors are shared with the training, not copied."""
        running = None
        if self._running is not None:
            running = {"totals": asdict(self._running), "epoch_start": self._epoch_start}
            running["random_state"] = get_random_state(self.model.device)
        return {
            "model": self.model.state_dict(),
            "start": self._start,
            "selection": self.selection.state_dict(),
            "kept": self.kept.state_dict(),
            "improved_state": self._improved_state,
            "initial_accuracy": self.initial_accuracy,
            "losses": self.losses,
            "stop_reason": self._stop_reason,
            "has_retried": self._has_retried,
            "train_step": self.train_step.state_dict(),
            "diagnostics": self.diagnostics.state_dict(),
            "view_schedule": self.view_schedule.state_dict(),
            "view_added": self._view_added,
            "running": running,
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._start = state.get("start")  # those of earlier releases have none
        self.selection.load_state_dict(state["selection"])
        if "kept" in state:  # those of earlier releases keep the best epoch alone
            self.kept.load_state_dict(state["kept"])
        self._improved_state = state["improved_state"]
        self.initial_accuracy, self.losses = state["initial_accuracy"], state["losses"]
        self._stop_reason, self._has_retried = state["stop_reason"], state["has_retried"]
        self._view_added = state["view_added"]
        self.train_step.load_state_dict(state["train_step"])
        self.diagnostics.load_state_dict(state["diagnostics"])
        self.view_schedule.load_state_dict(state["view_schedule"])
        if (running := state["running"]) is not None:
            self._running = EpochTotals(**running["totals"])
            self._epoch_start, self._random_state = running["epoch_start"], running["random_state"]

    def _epoch_or_retry(self, epoch: int) -> Generator[Step | Noted, None, EpochEnded]:
        """Train an epoch; if it diverges, retry it with a smaller learning rate, once in a training."""
        if self._running is None and not self._has_retried:
            train_step = copy.deepcopy(self.train_step.state_dict())
            self._epoch_start = {"model": self.model.copy_state(), "train_step": train_step}
        if self._has_retried or self._epoch_start is None:
            return (yield from self._last_try(epoch))
        start = self._epoch_start
        try:
            return (yield from self._epoch(epoch))
        except NotFinite:
            self._has_retried = True
        self.model.load_state_dict(start["model"])
        self.train_step.load_state_dict(start["train_step"])
        self.train_step.scale_rates(RETRY_FACTOR)
        self._running = self._epoch_start = None
        yield self.diagnostics.report_divergence(epoch, self.train_step.lr)
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
        """Train the epoch, or the rest of a resumed one, and validate."""
        self._running = totals = self._running or EpochTotals()
        view = self.source.choose_view(epoch, self.view_schedule.views)
        yield from self._steps(epoch, view, totals)
        began, before = time.perf_counter(), replace(self.source.counts)
        with self.train_step.use_average():
            figures = self._validator.validate(self.train_step.loss)
            ended = EpochEnded(
                epoch=epoch,
                view=view,
                train_loss=totals.loss_sum / totals.seen,
                train_accuracy=totals.correct / totals.seen,
                validation_loss=figures.loss,
                validation_accuracy=figures.accuracy,
                validation_balanced_accuracy=figures.balanced_accuracy,
                lr=totals.lr,
                seconds=totals.seconds + time.perf_counter() - began,
                cache_hits=totals.hits + self.source.counts.hits - before.hits,
                cache_misses=totals.misses + self.source.counts.misses - before.misses,
            )
            reaches_target = self._reaches_target(ended)
            copy = self.model.copy_state
            improves = self.selection.add_epoch(epoch, figures, copy, reaches_target=reaches_target)
            self.kept.add_epoch(epoch, copy, improves=improves)
        if self.selection.improved == epoch and not self.view_schedule.is_over:
            self._improved_state = {"model": self.model.copy_state(), "moments": self.train_step.copy_moments()}
        self._running = self._epoch_start = None
        return ended

    def _steps(self, epoch: int, view: int, totals: EpochTotals) -> Iterator[Step | Noted]:
        """Do the remaining steps of an epoch."""
        began = time.perf_counter()
        counts = self.source.counts
        seed_epoch(self.recipe.seed, epoch)
        order = self.run.train.images[self.recipe.sampling.draw_order(self._targets.labels).numpy()]
        self.model.start_epoch(self.recipe, epoch)
        if self._random_state is not None:
            set_random_state(self._random_state, self.model.device)
            self._random_state = None
        before, size = replace(counts), self.recipe.batch_size
        for images, rows in self.source.read_batches(order[totals.seen :], view, size):
            micro_batches = self.train_step.micro_batches.count
            factor = self._schedule(epoch - 1 + totals.seen / len(order))
            targets = self._targets.look_up(images)
            loss, correct = self.train_step.step(self.source.to_input(rows), targets, factor, totals.steps)
            computed = counts.misses - before.misses
            now = time.perf_counter()
            totals.steps += 1
            totals.seen += len(images)
            totals.correct += correct
            totals.loss_sum += loss * len(images)
            totals.lr = self.train_step.lr * factor
            totals.hits += counts.hits - before.hits
            totals.misses += computed
            totals.seconds += now - began
            before, began = replace(counts), now
            yield Step(len(images), computed)
            if self.train_step.micro_batches.count > micro_batches:
                yield report_micro_batches(self.train_step.micro_batches, size)
            if self.run.stop_condition.reason is not None:
                break

    def _schedule(self, epoch: float) -> float:
        """Compute the schedule's factor of the learning rates after a number of epochs."""
        return self.recipe.schedule.compute_factor(epoch, self.recipe.epochs, self.losses)

    def _return_to_improved(self) -> None:
        """Go back to the last epoch that improved: its weights, their average and the optimizer's moments."""
        assert self._improved_state is not None
        self.model.load_state_dict(self._improved_state["model"])
        self.train_step.load_moments(self._improved_state["moments"])
        if self.view_schedule.is_over:
            self._improved_state = None

    def _reaches_target(self, ended: EpochEnded) -> bool:
        target = self.recipe.target
        return target is not None and target.is_reached(getattr(ended, target.metric))

    def _find_reason_to_stop(self, ended: EpochEnded) -> StopReason | None:
        stopping = self.recipe.early_stopping
        if self._reaches_target(ended):
            return "target_reached"
        if (reason := self.run.stop_condition.reason) is not None:
            return reason
        since = ended.epoch - max(self.selection.improved, self._view_added)
        if stopping is not None and since >= stopping.patience and self.view_schedule.is_over:
            return "early_stopping"
        return None
