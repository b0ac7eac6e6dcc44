"""Another task first: what is below the output layer is trained under an output layer that is then dropped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.evaluation.metrics import right
from models.messages import Noted
from models.training.loop import TrainingDiverged
from models.training.lr_range_test import SAMPLE, find_rate
from models.training.model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.catalog.pretraining import OtherLabels, Rotation
    from models.catalog.recipe import Recipe
    from models.pretraining.pretext_tasks import Task
    from models.runtime.stop_condition import StopCondition


def learn_first(
    recipe: Recipe, chosen: Rotation | OtherLabels, model: TrainableModel, task: Task, stop_condition: StopCondition
) -> Generator[Noted, None, Recipe]:
    """Minimize cross entropy by the recipe's optimizer at a constant rate, `lr: auto` found as for the real task.

    What learns in which epoch is as the recipe's cut has it. Returns the recipe with the rate. Raises TrainingDiverged.
    """
    images, classes = len(task), len(task.classes)
    said = f"The layers below the output first learn {task.words}: {classes} classes, {images} images"
    yield Noted(kind="pretraining", message=said, data={"classes": list(task.classes), "images": images})
    torch.manual_seed(recipe.seed)
    learner = with_output(model, classes)
    places = torch.randperm(images)[: max(1, SAMPLE // task.views_at_once)]
    features, labels = _sample(recipe, learner, task, places)
    own = recipe.model_copy(update={"epochs": chosen.epochs})
    lr = find_rate(own, learner.head, nn.CrossEntropyLoss(), features, labels) if chosen.lr == "auto" else chosen.lr
    own = own.with_rate(lr)
    first, _ = _judge(learner, features, labels)
    optimizer = own.optimizer.build(learner.groups(own))
    torch.manual_seed(recipe.seed)
    for epoch in range(1, chosen.epochs + 1):
        _learn(own, learner, task, optimizer, epoch, stop_condition)
        if stop_condition.reason is not None:
            break
    last, accuracy = _judge(learner, *_sample(recipe, learner, task, places))
    _check(last, epoch)
    yield Noted(
        kind="pretraining",
        message=f"{task.words.capitalize()} are learned: the loss went from {first:.4g} to {last:.4g}, "
        f"and {accuracy:.0%} are right",
        data={"first_loss": first, "last_loss": last, "accuracy": accuracy, "lr": lr},
    )
    return recipe.model_copy(update={"pretraining": chosen.model_copy(update={"lr": lr})})


def with_output(model: TrainableModel, num_classes: int) -> TrainableModel:
    """The same layers, but for a new output layer, which starts by Glorot's rule."""
    last = model.head[-1]
    assert isinstance(last, nn.Linear)
    output = nn.Linear(last.in_features, num_classes)
    nn.init.xavier_uniform_(output.weight)
    nn.init.zeros_(output.bias)
    head = nn.Sequential(*model.head[:-1], output).to(model.device)
    return TrainableModel(model.cut_network, head, model.standardize, is_mixed=model.is_mixed)


def _sample(
    recipe: Recipe, learner: TrainableModel, task: Task, places: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, D) and labels (n,) of the plain views of some images."""
    learner.eval()
    with torch.no_grad():
        found = [
            (learner.features(given), labels.to(learner.device))
            for given, labels in task.batches(places, 1, recipe.images_per_step)
        ]
    features, labels = zip(*found, strict=True)
    return torch.cat(features), torch.cat(labels)


def _judge(learner: TrainableModel, features: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Loss, and the share that is right."""
    learner.eval()
    with torch.no_grad():
        logits = learner.head(features)
    return nn.functional.cross_entropy(logits, labels).item(), right(logits, labels) / len(labels)


def _learn(
    recipe: Recipe,
    learner: TrainableModel,
    task: Task,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    stop_condition: StopCondition,
) -> None:
    """One pass in random order, or what the limit leaves of it."""
    learner.start_epoch(recipe, epoch)
    for given, labels in task.batches(torch.randperm(len(task)), epoch, recipe.images_per_step):
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
