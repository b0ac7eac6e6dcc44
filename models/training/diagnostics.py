"""Training diagnostics: vanishing gradients, dead units, overfitting and the like, with advice on what to change.

A few steps of each epoch are watched: the outputs of the head's units, and the gradients of each layer.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from models.messages import Diagnosed, EpochEnded, Noted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.catalog.losses import Task
    from models.training.selection import Selection
    from models.training.trainable_model import TrainableModel

WATCHED_STEPS = 4
"""Steps of an epoch that are watched."""
VANISHING = 1e-4
"""Gradients of one layer this many times smaller than those of another do not train it."""
EXPLODING = 1e3
"""Root mean square of a layer's gradient beyond which a step throws its weights away."""
MOSTLY = 0.5
"""Share of dead or saturated units that is reported."""
RARE = 0.5
"""A class is rare if it has fewer training images than this many times the mean."""
LOST = 0.5
"""A rare class is lost if its recall is less than this many times the mean of the other classes."""

ENOUGH = 0.9
"""Validation accuracy of a head on a frozen backbone below which training the backbone may be worth its time."""

ONE_SIDED = (nn.ReLU,)
"""Activations whose units die."""
LEVELS = {nn.Sigmoid: (0.5, 0.47), nn.Tanh: (0.0, 0.97)}
"""Activations that saturate: their middle, and the distance from it at which their slope is nearly gone."""

ADVICE = {
    "diverged": "Choose a smaller optimizer.lr, a schedule with warmup_epochs, or gradient_clipping: by_norm.",
    "vanishing_gradients": "Take relu or elu for head.activation with initializer: auto, add head.normalization: "
    "batch_norm, or give head.hidden fewer layers.",
    "exploding_gradients": "Set gradient_clipping to by_norm, choose a smaller optimizer.lr, or initializer: auto.",
    "dead_units": "Take leaky_relu or elu for head.activation, or choose a smaller optimizer.lr.",
    "saturated_units": "Take relu or elu for head.activation with initializer: auto, or add "
    "head.normalization: batch_norm.",
    "overfitting": "Raise head.dropout, add augmentations or mixup, or raise the strength of regularizers.",
    "underfitting": "Lower head.dropout, take head: mlp, or unfreeze a stage (cut: top).",
    "head_not_enough": "Set quality: balanced, which tries pooling: depths and trains the whole backbone too, and "
    "delivers what is better on the validation images.",
    "learning_rate_too_high": "Choose a smaller optimizer.lr, or schedule: performance.",
    "learning_rate_too_low": "Choose a larger optimizer.lr, or more epochs.",
    "rare_class_lost": "Set loss.class_weights: auto, or sampling: balanced; more images of these classes help most.",
    "worse_than_baseline": "Leave early_stopping out, so that the best epoch or baseline is kept.",
    "no_better_than_constant": "If classes are of very different sizes, set loss.class_weights: auto or sampling: "
    "balanced; else add images, or choose another optimizer.lr.",
}
"""Advice on what to change in the recipe, by finding."""


NAMED = 5
"""Most classes that a message names."""


class ClassRecall(NamedTuple):
    """Recall of a class on the validation images, and its numbers of images."""

    name: str
    images: int
    """Training images."""
    support: int
    """Validation images."""
    recall: float


@dataclass
class _LayerRecord:
    """The gradients and outputs of one layer in an epoch."""

    squares: list[float] = field(default_factory=list)
    """Mean squares of its gradient."""
    means: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)
    fired: torch.Tensor | None = None
    """Mask of units that were above zero for any image."""
    saturated: list[float] = field(default_factory=list)


class Diagnostics:
    """Watches one training, and reports what goes wrong."""

    def __init__(self, model: TrainableModel, steps: int, task: Task) -> None:
        """`steps` are those of an epoch."""
        self.model, self.task = model, task
        self._has_recorded = False
        self._every = max(1, math.ceil(steps / WATCHED_STEPS))
        hidden = {f"hidden.{number}": layer for number, layer in enumerate(model.head.hidden_layers)}
        self._linears = {**{name: layer.linear for name, layer in hidden.items()}, "output": model.head.output}
        self._activations = {layer.activation: name for name, layer in hidden.items()}
        self._layers: dict[str, _LayerRecord] = {}
        self._epochs: list[EpochEnded] = []
        self._findings: dict[str, dict[str, Any]] = {}
        self._reports: list[dict[str, Any]] = []

    def is_watching(self, step: int) -> bool:
        """Tell whether a step of the epoch (0, 1, …) is watched."""
        return step % self._every == 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the head's logits, and record the outputs of its hidden layers on the way."""
        value = features
        for layer in self.model.head.layers:
            value = layer(value)
            if layer in self._activations:
                self._record_units(self._record(self._activations[layer]), layer, value.detach())
        return value

    def record_gradients(self) -> None:
        """Record the gradients, which have just been computed."""
        for name, linear in self._linears.items():
            self._record_gradient(name, [next(linear.parameters())])
        if self._has_recorded:  # a linear head starts at zero, and passes no gradient down in the first step
            for stage in self.model.cut_network.stages:
                self._record_gradient(stage.name, list(stage.parameters.values()))
        self._has_recorded = True

    def state_dict(self) -> dict[str, Any]:
        """State to resume from: everything recorded and found."""
        return {
            "has_recorded": self._has_recorded,
            "epochs": [ended.model_dump() for ended in self._epochs],
            "findings": self._findings,
            "reports": self._reports,
            "layers": {name: vars(record) for name, record in self._layers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self._has_recorded, self._findings, self._reports = state["has_recorded"], state["findings"], state["reports"]
        self._epochs = [EpochEnded.model_validate(ended) for ended in state["epochs"]]
        self._layers = {name: _LayerRecord(**record) for name, record in state["layers"].items()}
        for record in self._layers.values():
            record.fired = None if record.fired is None else record.fired.to(self.model.device)

    def report_divergence(self, epoch: int, lr: float) -> Noted:
        """Report that the epoch is tried again with this learning rate, and forget what was recorded of it."""
        self._layers = {}
        message = f"The loss became infinite or NaN in epoch {epoch}; it is tried again from its start with lr {lr:g}."
        return self._add_finding("diverged", epoch, message, {"lr": lr})

    def examine(self, ended: EpochEnded) -> Iterator[Noted | Diagnosed]:
        """Report new findings after an epoch, and the summary of all."""
        self._epochs.append(ended)
        self._reports = [self._report(name, record) for name, record in self._layers.items()]
        for kind, message, data in (*self._find_in_layers(), *self._find_in_losses()):
            if kind not in self._findings:
                yield self._add_finding(kind, ended.epoch, message, data)
        yield Diagnosed(diagnosis=self._summary())
        self._layers = {}

    def final_findings(
        self, stop_reason: str, clipped: float | None, selection: Selection, recalls: list[ClassRecall]
    ) -> Iterator[Noted | Diagnosed]:
        """Report findings that can only be known at the end of training.

        Args:
            stop_reason: why training ended.
            clipped: share of the steps whose gradient was clipped.
            selection: what is delivered.
            recalls: of what is delivered, on the validation images.
        """
        last = self._epochs[-1]
        of_selection = list(_find_in_selection(selection))
        of_head = () if of_selection else self._find_in_head(selection)
        found = (*self._find_in_whole(stop_reason), *of_selection, *_find_lost_classes(recalls), *of_head)
        for kind, message, data in found:
            yield self._add_finding(kind, last.epoch, message, data)
        yield Diagnosed(diagnosis={**self._summary(), "clipped_share": clipped})

    def _find_in_layers(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        rms = {layer["layer"]: layer["gradient_rms"] for layer in self._reports if layer["gradient_rms"] is not None}
        if rms:
            least, most = min(rms, key=rms.__getitem__), max(rms, key=rms.__getitem__)
            if rms[most] > EXPLODING:
                yield "exploding_gradients", f"The gradient of {most} has a root mean square of {rms[most]:.0f}", rms
            elif rms[least] < VANISHING * rms[most]:
                how = f"{rms[most] / rms[least]:.0f} times smaller than" if rms[least] else "zero, and not"
                yield "vanishing_gradients", f"The gradients of {least} are {how} those of {most}", rms
        for layer in self._reports:
            for kind, words in (("dead", "never fire"), ("saturated", "are saturated")):
                share = layer[kind]
                if share is not None and share > MOSTLY:
                    yield f"{kind}_units", f"{share:.0%} of the units of {layer['layer']} {words}", {"share": share}

    def _find_in_losses(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        first, last = self._epochs[0], self._epochs[-1]
        best = min(self._epochs, key=lambda ended: ended.validation_loss)
        gap = last.train_accuracy - last.validation_accuracy
        rises = last.validation_loss > 1.1 * best.validation_loss and last.train_loss < best.train_loss
        if rises and gap > 0.1 and last.epoch - best.epoch >= 3:
            message = (
                f"Validation loss has risen from {best.validation_loss:.3f} to {last.validation_loss:.3f} while "
                f"training loss fell; training accuracy is {gap:.0%} above validation accuracy"
            )
            yield "overfitting", message, {"gap": gap}
        # Plain and augmented views are not equally hard.
        losses = [ended.train_loss for ended in self._epochs if bool(ended.view) == bool(last.view)][-6:]
        least = 0.02 * first.train_loss
        jumps = sum(later > max(1.1 * earlier, earlier + least) for earlier, later in itertools.pairwise(losses))
        if jumps >= 3 or last.train_loss > 2 * first.train_loss:
            yield "learning_rate_too_high", "Training loss rises again and again", {"train_losses": losses}

    def _find_in_whole(self, stop_reason: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        if len(self._epochs) < 5:
            return
        best = min(self._epochs, key=lambda ended: ended.validation_loss)
        last = self._epochs[-1]
        falls = best is last and last.validation_loss < 0.95 * self._epochs[-5].validation_loss
        is_at_rate = last.lr > max(ended.lr for ended in self._epochs) / 2  # a schedule that ends at 0 ends best there
        still = stop_reason == "epochs_done" and falls and is_at_rate and last.validation_accuracy < 0.99
        if still and "learning_rate_too_high" not in self._findings:
            yield "learning_rate_too_low", "Validation loss still fell when the last epoch ended", {}
        elif (
            self.task == "single_label"  # of several labels, all are seldom right
            and "overfitting" not in self._findings
            and max(best.train_accuracy, best.validation_accuracy) < 0.85
            and best.train_accuracy - best.validation_accuracy < 0.03
        ):
            yield "underfitting", f"Only {best.train_accuracy:.0%} of the training images are classified correctly", {}

    def _find_in_head(self, selection: Selection) -> Iterator[tuple[str, str, dict[str, Any]]]:
        accuracy = selection.figures.get("validation_accuracy", 1.0)  # earlier releases' snapshots have none
        if self.task == "single_label" and not self.model.cut_network.stages and accuracy < ENOUGH:
            message = f"A head on the frozen backbone classifies {accuracy:.0%} of the validation images correctly"
            yield "head_not_enough", message, {"validation_accuracy": accuracy}

    def _add_finding(self, kind: str, epoch: int, message: str, data: dict[str, Any]) -> Noted:
        advice = ADVICE[kind]
        self._findings[kind] = {"kind": kind, "epoch": epoch, "message": message, "advice": advice}
        advised = f"{message.rstrip('.')}. {advice}"
        return Noted(level="warning", kind=kind, message=advised, data={"epoch": epoch, "advice": advice, **data})

    def _summary(self) -> dict[str, Any]:
        return {"findings": list(self._findings.values()), "layers": self._reports}

    def _record(self, name: str) -> _LayerRecord:
        return self._layers.setdefault(name, _LayerRecord())

    def _record_units(self, record: _LayerRecord, activation: nn.Module, units: torch.Tensor) -> None:
        record.means.append(units.mean().item())
        record.deviations.append(units.std().item() if units.numel() > 1 else 0.0)
        if isinstance(activation, ONE_SIDED):
            fires = (units > 0).any(0)
            record.fired = fires if record.fired is None else record.fired | fires
        if type(activation) in LEVELS:
            middle, distance = LEVELS[type(activation)]
            record.saturated.append(((units - middle).abs() > distance).float().mean().item())

    def _record_gradient(self, name: str, parameters: list[nn.Parameter]) -> None:
        squares = [p.grad.square().mean().item() for p in parameters if p.grad is not None]
        if squares:
            self._record(name).squares.append(sum(squares) / len(squares))

    def _report(self, name: str, record: _LayerRecord) -> dict[str, Any]:
        return {
            "layer": name,
            "gradient_rms": math.sqrt(_mean(record.squares)) if record.squares else None,
            "activation_mean": _mean(record.means) if record.means else None,
            "activation_std": _mean(record.deviations) if record.deviations else None,
            "dead": None if record.fired is None else 1 - record.fired.float().mean().item(),
            "saturated": _mean(record.saturated) if record.saturated else None,
        }


def _find_in_selection(selection: Selection) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if selection.is_below_baseline:
        message = "On the validation images the last epoch, which is kept, is worse than what needs no training"
        yield "worse_than_baseline", message, {"baselines": selection.baselines}
    if selection.name == "constant":
        message = "On the validation images no epoch was better than the constant predictor, which is delivered"
        yield "no_better_than_constant", message, {"baselines": selection.baselines}


def _find_lost_classes(recalls: list[ClassRecall]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    mean_images = _mean([row.images for row in recalls])
    shown = [row for row in recalls if row.support]
    rare = [row for row in shown if row.images < RARE * mean_images]
    others = [row.recall for row in shown if row.images >= RARE * mean_images]
    lost = [row for row in rare if others and row.recall < LOST * _mean(others)]
    if lost:
        words = [f"{row.name}: {round(row.recall * row.support)} of {row.support}" for row in lost[:NAMED]]
        more = f" and {len(lost) - NAMED} more classes" if len(lost) > NAMED else ""
        message = f"Rare classes are lost; of their validation images are found, {', '.join(words)}{more}"
        yield "rare_class_lost", message, {"classes": [row._asdict() for row in lost]}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
