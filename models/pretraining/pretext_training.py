"""Pretext training: the layers below the output learn another task first, under an output layer of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.evaluation.metrics import count_correct
from models.messages import Noted
from models.nn.head import HeadModule
from models.training.loop import TrainingDiverged
from models.training.lr_range_test import SAMPLE, find_rate
from models.training.trainable_model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.catalog.pretraining import OtherLabels, Rotation
    from models.catalog.recipe import ResolvedRecipe
    from models.pretraining.pretext_tasks import PretextTask
    from models.runtime.stop_condition import StopCondition
    from models.training.inputs import TrainingRun


def train_on_pretext(
    run: TrainingRun, chosen: Rotation | OtherLabels, task: PretextTask
) -> Generator[Noted, None, TrainingRun]:
    """Minimize cross entropy on a pretext task with the recipe's optimizer, at a constant learning rate.

    `lr: auto` is found as for the real task, and stages are unfrozen as the recipe's cut has it. Returns the run with
    the rate in its recipe. Raises TrainingDiverged.
    """
    recipe, images, classes = run.recipe, len(task), len(task.classes)
    message = f"Pretraining the layers below the output on {task.words}: {classes} classes, {images} images"
    yield Noted(kind="pretraining", message=message, data={"classes": list(task.classes), "images": images})
    torch.manual_seed(recipe.seed)
    learner = replace_output(run.model, classes)
    places = torch.randperm(images)[: max(1, SAMPLE // task.views_at_once)]
    features, labels = _sample(recipe, learner, task, places)
    own = recipe.model_copy(update={"epochs": chosen.epochs, "early_stopping": None})
    lr = find_rate(own, learner.head, nn.CrossEntropyLoss(), features, labels) if chosen.lr == "auto" else chosen.lr
    own = own.with_rate(lr)
    first, _ = _evaluate(learner, features, labels)
    optimizer = learner.build_optimizer(own)
    torch.manual_seed(recipe.seed)
    for epoch in range(1, chosen.epochs + 1):
        _train_epoch(own, learner, task, optimizer, epoch, run.stop_condition)
        if run.stop_condition.reason is not None:
            break
    last, accuracy = _evaluate(learner, *_sample(recipe, learner, task, places))
    _check(last, epoch)
    yield Noted(
        kind="pretraining",
        message=f"Pretraining done: the loss went from {first:.4g} to {last:.4g}, accuracy {accuracy:.0%}",
        data={"first_loss": first, "last_loss": last, "accuracy": accuracy, "lr": lr},
    )
    return replace(run, recipe=recipe.model_copy(update={"pretraining": chosen.model_copy(update={"lr": lr})}))


def replace_output(model: TrainableModel, num_classes: int) -> TrainableModel:
    """Build a model of the same layers with another output layer, initialized by Glorot's rule."""
    output = nn.Linear(model.head.output.in_features, num_classes)
    nn.init.xavier_uniform_(output.weight)
    nn.init.zeros_(output.bias)
    head = HeadModule(model.head.dropout, output, model.head.hidden).to(model.device)
    return TrainableModel(model.cut_network, head, model.standardize, model.updates, is_mixed=model.is_mixed)


def _sample(
    recipe: ResolvedRecipe, learner: TrainableModel, task: PretextTask, places: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute features (n, D) and labels (n,) of plain views of a sample of images."""
    learner.eval()
    with torch.no_grad():
        found = [
            (learner.forward_features(given), labels.to(learner.device))
            for given, labels in task.batches(places, 1, recipe.batch_size)
        ]
    features, labels = zip(*found, strict=True)
    return torch.cat(features), torch.cat(labels)


def _evaluate(learner: TrainableModel, features: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Compute loss and accuracy on the pretext task."""
    learner.eval()
    with torch.no_grad():
        logits = learner.head(features)
    return nn.functional.cross_entropy(logits, labels).item(), count_correct(logits, labels) / len(labels)


def _train_epoch(
    recipe: ResolvedRecipe,
    learner: TrainableModel,
    task: PretextTask,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    stop_condition: StopCondition,
) -> None:
    """Train one epoch in random order, or the part of it that the stop condition allows."""
    learner.start_epoch(recipe, epoch)
    for given, labels in task.batches(torch.randperm(len(task)), epoch, recipe.batch_size):
        if len(labels) == 1 and learner.needs_two:
            continue
        loss = nn.functional.cross_entropy(learner(given), labels.to(learner.device))
        _check(loss.item(), epoch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.gradient_clipping is not None:
            recipe.gradient_clipping.clip([p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
        if stop_condition.reason is not None:
            break


def _check(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"The loss became infinite or NaN in epoch {epoch} of pretraining; "
            "choose a smaller learning rate (pretraining.lr), or clip the gradients (gradient_clipping)."
        )
