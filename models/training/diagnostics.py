"""The training doctor: watches what the techniques of the catalog exist for, and says what is wrong and what to change.

It looks at a few steps of each epoch: at what the units of the head say, and at the gradients of each layer.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.messages import Diagnosed, EpochEnded, Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.losses import Task
    from models.training.model import TrainableModel

LOOKS = 4
"""Steps of an epoch that it looks at."""
VANISHING = 1e-4
"""Gradients of one layer this many times smaller than those of another do not train it."""
EXPLODING = 1e3
"""Root mean square of a layer's gradient beyond which a step throws its weights away."""
MOSTLY = 0.5
"""Share of dead or saturated units that is worth a word."""

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
    "learning_rate_too_high": "Choose a smaller optimizer.lr, or schedule: performance.",
    "learning_rate_too_low": "Choose a larger optimizer.lr, or more epochs.",
}
"""What to change in the recipe, by finding."""


@dataclass
class _Layer:
    """What was seen of one layer in an epoch."""

    squares: list[float] = field(default_factory=list)
    """Mean squares of its gradient."""
    means: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)
    fired: torch.Tensor | None = None
    """Which units were above zero for any image."""
    saturated: list[float] = field(default_factory=list)


class Diagnostics:
    """Watches one training."""

    def __init__(self, model: TrainableModel, steps: int, task: Task) -> None:
        """`steps` are those of an epoch."""
        self.model, self.task = model, task
        self._has_felt = False
        self._every = max(1, math.ceil(steps / LOOKS))
        self._names = _names(model.head)
        self._layers: dict[str, _Layer] = {}
        self._epochs: list[EpochEnded] = []
        self._findings: dict[str, dict[str, Any]] = {}
        self._reports: list[dict[str, Any]] = []

    def looks_at(self, step: int) -> bool:
        """Whether it wants to see this step of an epoch (0, 1, …)."""
        return step % self._every == 0

    def through(self, features: torch.Tensor) -> torch.Tensor:
        """What the head makes of features; it looks at what the units say on the way."""
        value = features
        for index, module in enumerate(self.model.head):
            value = module(value)
            if index in self._names and not isinstance(module, nn.Linear):
                self._see(self._layer(self._names[index]), module, value.detach())
        return value

    def record_gradients(self) -> None:
        """Look at the gradients, which have just been computed."""
        for index, module in enumerate(self.model.head):
            if isinstance(module, nn.Linear):
                weight = next(module.parameters())
                self._feel(self._names[index], [weight])
        if self._has_felt:  # a linear head starts at zero, and gives nothing back in the first step
            for stage in self.model.cut_network.stages:
                self._feel(stage.name, list(stage.parameters.values()))
        self._has_felt = True

    def state(self) -> dict[str, Any]:
        """What it has seen and found."""
        return {
            "has_felt": self._has_felt,
            "epochs": [ended.model_dump() for ended in self._epochs],
            "findings": self._findings,
            "reports": self._reports,
            "layers": {name: vars(layer) for name, layer in self._layers.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` gave."""
        self._has_felt, self._findings, self._reports = state["has_felt"], state["findings"], state["reports"]
        self._epochs = [EpochEnded.model_validate(ended) for ended in state["epochs"]]
        self._layers = {name: _Layer(**seen) for name, seen in state["layers"].items()}
        for layer in self._layers.values():
            layer.fired = None if layer.fired is None else layer.fired.to(self.model.device)

    def diverged(self, epoch: int, lr: float) -> Noted:
        """The epoch is tried again with this learning rate; what was seen of it is forgotten."""
        self._layers = {}
        said = f"The loss became infinite or NaN in epoch {epoch}; it is tried again from its start with lr {lr:g}."
        return self._found("diverged", epoch, said, {"lr": lr})

    def examine(self, ended: EpochEnded) -> Iterator[Noted | Diagnosed]:
        """What is new after an epoch, and the summary."""
        self._epochs.append(ended)
        self._reports = [self._report(name, layer) for name, layer in self._layers.items()]
        for kind, said, data in (*self._of_layers(), *self._of_losses()):
            if kind not in self._findings:
                yield self._found(kind, ended.epoch, said, data)
        yield Diagnosed(diagnosis=self._summary())
        self._layers = {}

    def final_findings(self, stop_reason: str, clipped: float | None) -> Iterator[Noted | Diagnosed]:
        """What can only be said at the end."""
        last = self._epochs[-1]
        for kind, said in self._of_the_whole(stop_reason):
            yield self._found(kind, last.epoch, said, {})
        yield Diagnosed(diagnosis={**self._summary(), "clipped_share": clipped})

    def _of_layers(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        felt = {layer["layer"]: layer["gradient_rms"] for layer in self._reports if layer["gradient_rms"] is not None}
        if felt:
            least, most = min(felt, key=felt.__getitem__), max(felt, key=felt.__getitem__)
            if felt[most] > EXPLODING:
                yield "exploding_gradients", f"The gradient of {most} has a root mean square of {felt[most]:.0f}", felt
            elif felt[least] < VANISHING * felt[most]:
                how = f"{felt[most] / felt[least]:.0f} times smaller than" if felt[least] else "zero, and not"
                yield "vanishing_gradients", f"The gradients of {least} are {how} those of {most}", felt
        for layer in self._reports:
            for kind, words in (("dead", "never fire"), ("saturated", "are saturated")):
                share = layer[kind]
                if share is not None and share > MOSTLY:
                    yield f"{kind}_units", f"{share:.0%} of the units of {layer['layer']} {words}", {"share": share}

    def _of_losses(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        first, last = self._epochs[0], self._epochs[-1]
        best = min(self._epochs, key=lambda ended: ended.validation_loss)
        gap = last.train_accuracy - last.validation_accuracy
        rises = last.validation_loss > 1.1 * best.validation_loss and last.train_loss < best.train_loss
        if rises and gap > 0.1 and last.epoch - best.epoch >= 3:
            said = (
                f"Validation loss has risen from {best.validation_loss:.3f} to {last.validation_loss:.3f} while "
                f"training loss fell; training accuracy is {gap:.0%} above validation accuracy"
            )
            yield "overfitting", said, {"gap": gap}
        # Plain and augmented views are not equally hard.
        losses = [ended.train_loss for ended in self._epochs if bool(ended.view) == bool(last.view)][-6:]
        least = 0.02 * first.train_loss
        jumps = sum(later > max(1.1 * earlier, earlier + least) for earlier, later in itertools.pairwise(losses))
        if jumps >= 3 or last.train_loss > 2 * first.train_loss:
            yield "learning_rate_too_high", "Training loss rises again and again", {"train_losses": losses}

    def _of_the_whole(self, stop_reason: str) -> Iterator[tuple[str, str]]:
        if len(self._epochs) < 5:
            return
        best = min(self._epochs, key=lambda ended: ended.validation_loss)
        last = self._epochs[-1]
        falls = best is last and last.validation_loss < 0.95 * self._epochs[-5].validation_loss
        is_at_rate = last.lr > max(ended.lr for ended in self._epochs) / 2  # a schedule that ends at 0 ends best there
        still = stop_reason == "epochs_done" and falls and is_at_rate and last.validation_accuracy < 0.99
        if still and "learning_rate_too_high" not in self._findings:
            yield "learning_rate_too_low", "Validation loss still fell when the last epoch ended"
        elif (
            self.task == "single_label"  # of several labels, all are seldom right
            and "overfitting" not in self._findings
            and max(best.train_accuracy, best.validation_accuracy) < 0.85
            and best.train_accuracy - best.validation_accuracy < 0.03
        ):
            yield "underfitting", f"Even of the images that it trains on, only {best.train_accuracy:.0%} are right"

    def _found(self, kind: str, epoch: int, said: str, data: dict[str, Any]) -> Noted:
        advice = ADVICE[kind]
        self._findings[kind] = {"kind": kind, "epoch": epoch, "message": said, "advice": advice}
        message = f"{said.rstrip('.')}. {advice}"
        return Noted(level="warning", kind=kind, message=message, data={"epoch": epoch, "advice": advice, **data})

    def _summary(self) -> dict[str, Any]:
        return {"findings": list(self._findings.values()), "layers": self._reports}

    def _layer(self, name: str) -> _Layer:
        return self._layers.setdefault(name, _Layer())

    def _see(self, layer: _Layer, module: nn.Module, said: torch.Tensor) -> None:
        layer.means.append(said.mean().item())
        layer.deviations.append(said.std().item() if said.numel() > 1 else 0.0)
        if isinstance(module, ONE_SIDED):
            fires = (said > 0).any(0)
            layer.fired = fires if layer.fired is None else layer.fired | fires
        if type(module) in LEVELS:
            middle, distance = LEVELS[type(module)]
            layer.saturated.append(((said - middle).abs() > distance).float().mean().item())

    def _feel(self, name: str, parameters: list[nn.Parameter]) -> None:
        squares = [p.grad.square().mean().item() for p in parameters if p.grad is not None]
        if squares:
            self._layer(name).squares.append(sum(squares) / len(squares))

    def _report(self, name: str, layer: _Layer) -> dict[str, Any]:
        return {
            "layer": name,
            "gradient_rms": math.sqrt(_mean(layer.squares)) if layer.squares else None,
            "activation_mean": _mean(layer.means) if layer.means else None,
            "activation_std": _mean(layer.deviations) if layer.deviations else None,
            "dead": None if layer.fired is None else 1 - layer.fired.float().mean().item(),
            "saturated": _mean(layer.saturated) if layer.saturated else None,
        }


def _names(head: nn.Sequential) -> dict[int, str]:
    """What the linear layers and activations of a head are called, by their place: hidden.0, …, output."""
    names: dict[int, str] = {}
    linears = [index for index, module in enumerate(head) if isinstance(module, nn.Linear)]
    for number, index in enumerate(linears):
        names[index] = "output" if index == linears[-1] else f"hidden.{number}"
    for index, module in enumerate(head):
        below = [linear for linear in linears if linear < index]
        if below and below[-1] != linears[-1] and _is_activation(module):
            names[index] = names[below[-1]]
    return names


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == nn.ReLU.__module__


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
