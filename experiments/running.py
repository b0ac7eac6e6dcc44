"""Run one training of an experiment with Graft's own code: a recipe's choices in, metrics out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.catalog.recipe import Recipe
from models.features.sources import forward_plain_views
from models.messages import Diagnosed, EpochEnded, Noted
from models.pretraining.pretrain import Material as Seen
from models.pretraining.pretrain import pretrain
from models.training.inputs import Subset, TrainingRun
from models.training.loop import Training, TrainingDiverged
from models.training.lr_range_test import resolve_rate
from models.training.trainable_model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments.material import Material, Network, Split
    from models.catalog.recipe import ResolvedRecipe
    from models.features.sources import FeatureSource

Choices = dict[str, Any]
"""Choices of a recipe, in the JSON of a job's request."""

PLAIN: Choices = {"augmentations": (), "early_stopping": None}
"""Plain views only, and the last epoch counts: nothing is chosen by the validation images."""


@dataclass(frozen=True)
class Effort:
    """Seeds and share of the epochs to run."""

    seeds: Sequence[int] = range(5)
    share: float = 1.0
    """Share of the epochs."""

    def scale_epochs(self, full: int) -> int:
        """Scale a number of epochs; at least two remain."""
        return max(2, round(self.share * full))


@dataclass(frozen=True)
class Setting:
    """A recipe, a network, features and a split, before training."""

    recipe: ResolvedRecipe
    """Resolved, but for its learning rate."""
    classes: list[str]
    model: TrainableModel
    source: FeatureSource
    parts: Split

    @property
    def training_run(self) -> TrainingRun:
        """Collect what training needs."""
        return TrainingRun(self.recipe, self.classes, self.model, self.source, self.parts.train, self.parts.validation)


@dataclass(frozen=True)
class Run:
    """A finished training with its metrics."""

    setting: Setting
    lr: float
    epochs: list[EpochEnded]
    diagnosis: dict[str, Any]
    """Training diagnostics of the last epoch."""
    steps_an_epoch: int
    has_diverged: bool
    """True if the loss became infinite, so that training continued at a smaller rate or ended."""

    def get_curve(self, figure: str) -> list[float]:
        """List a metric of each epoch."""
        return [getattr(ended, figure) for ended in self.epochs]

    def evaluate(self, examples: Subset) -> tuple[float, float]:
        """Compute loss and accuracy on plain views after the last epoch."""
        return evaluate(self.setting, examples)

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test images."""
        return self.evaluate(self.setting.parts.test)[1]

    @property
    def seconds_a_step(self) -> float:
        """Seconds per step of the fastest epoch, validation included."""
        return min(self.get_curve("seconds")) / self.steps_an_epoch


def prepare(
    material: Material,
    parts: Split,
    seed: int,
    choices: Mapping[str, Any],
    network: Network | None = None,
    standardized_by: Subset | None = None,
) -> Setting:
    """Resolve a recipe with these choices and build its network, ready for the first step.

    The features are standardized over the training images, or over `standardized_by`.
    """
    seen, classes = network or material.frozen, material.images.classes
    counts = Counter(parts.train.labels.tolist())
    recipe = Recipe.model_validate({**PLAIN, "seed": seed, **choices}).resolve(
        task="single_label",
        image_size=seen.preprocessing.side,
        num_features=seen.num_features,
        class_counts={name: counts[place] for place, name in enumerate(classes)},
        images=len(parts.train.images),
    )
    source = material.source(recipe.image_augmentations, seen)
    images = (standardized_by or parts.train).images
    model = TrainableModel.from_recipe(recipe, len(classes), seen.cut_network, source, images)
    return Setting(recipe, classes, model, source, parts)


def find_rate(setting: Setting) -> float:
    """Find the learning rate by a range test, as a job does."""
    return resolve_rate(setting.training_run).recipe.optimizer.rate


def pretrain_head(setting: Setting, material: Material) -> None:
    """Pretrain the head as the recipe says, on the training images or on all of the other dataset."""
    chosen = setting.recipe.pretraining
    assert chosen is not None
    shown, examples = material.images, setting.parts.train
    if chosen.kind == "other_labels":
        shown = material.other
        examples = Subset(np.arange(len(shown.pack)), shown.pack.labels)
    seen = Seen(lambda changes: material.source(changes, images=shown), examples, shown.classes)
    for _ in pretrain(setting.training_run, seen):
        pass


def run(setting: Setting, *, may_diverge: bool = False) -> Run:
    """Train; a range test finds a learning rate that is `auto`, as in a job.

    Raises TrainingDiverged where the loss becomes infinite, unless it may diverge.
    """
    training = Training(resolve_rate(setting.training_run))
    recipe = training.recipe
    epochs: list[EpochEnded] = []
    diagnosis: dict[str, Any] = {}
    has_diverged = False
    try:
        for news in training.train():
            match news:
                case EpochEnded():
                    epochs.append(news)
                case Diagnosed():
                    diagnosis = news.diagnosis
                case Noted(kind="diverged"):
                    has_diverged = True
    except TrainingDiverged:
        has_diverged = True
    if has_diverged and not may_diverge:
        raise TrainingDiverged(f"{recipe.optimizer} diverged, which this experiment cannot report.")
    steps = recipe.count_steps(len(setting.parts.train.images))
    return Run(setting, recipe.optimizer.rate, epochs, diagnosis, steps, has_diverged)


def evaluate(setting: Setting, examples: Subset) -> tuple[float, float]:
    """Compute loss and accuracy of a setting's network on plain views."""
    logits = torch.cat(list(forward_plain_views(setting.model.eval(), setting.source, examples.images)))
    labels = torch.from_numpy(examples.labels)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, float((logits.argmax(1) == labels).float().mean())
