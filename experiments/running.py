"""One training of an experiment: a recipe's choices in, figures out. All of it is the project's own."""

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
from models.training.loop import Training, TrainingDiverged
from models.training.lr_range_test import resolve_rate
from models.training.model import TrainableModel
from models.training.run import Subset, TrainingRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments.material import Material, Network, Parts
    from models.catalog.recipe import ResolvedRecipe
    from models.features.sources import FeatureSource

Choices = dict[str, Any]
"""What a recipe chooses, as a job's request says it."""

PLAIN: Choices = {"augmentations": (), "early_stopping": None}
"""Plain views alone, and the last epoch counts: nothing is chosen by the images to validate on."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    seeds: Sequence[int] = range(5)
    share: float = 1.0
    """Of the epochs."""

    def epochs(self, full: int) -> int:
        """So many, where `full` is the whole effort."""
        return max(2, round(self.share * full))


@dataclass(frozen=True)
class Setting:
    """What a training starts from."""

    recipe: ResolvedRecipe
    """Resolved, but for its learning rate."""
    classes: list[str]
    model: TrainableModel
    source: FeatureSource
    parts: Parts

    @property
    def training_run(self) -> TrainingRun:
        """As training takes it."""
        return TrainingRun(self.recipe, self.classes, self.model, self.source, self.parts.train, self.parts.validation)


@dataclass(frozen=True)
class Run:
    """A training that has ended."""

    setting: Setting
    lr: float
    epochs: list[EpochEnded]
    diagnosis: dict[str, Any]
    """The doctor's of the last epoch."""
    steps_an_epoch: int
    has_diverged: bool
    """The loss became infinite, so that it went on with a smaller rate or not at all."""

    def each(self, figure: str) -> list[float]:
        """A figure of each epoch."""
        return [getattr(ended, figure) for ended in self.epochs]

    def judged(self, examples: Subset) -> tuple[float, float]:
        """Loss and accuracy on the plain views of images, after the last epoch."""
        return judged(self.setting, examples)

    @property
    def test_accuracy(self) -> float:
        """The share of the test images that it gets right."""
        return self.judged(self.setting.parts.test)[1]

    @property
    def seconds_a_step(self) -> float:
        """The fastest epoch's, validation included."""
        return min(self.each("seconds")) / self.steps_an_epoch


def prepared(
    material: Material,
    parts: Parts,
    seed: int,
    choices: Mapping[str, Any],
    network: Network | None = None,
    standardized_by: Subset | None = None,
) -> Setting:
    """A recipe of these choices and a head of it before its first step.

    The features are standardized over the images to train on, or over others.
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


def found_rate(setting: Setting) -> float:
    """The learning rate that a job would find."""
    return resolve_rate(setting.training_run).recipe.optimizer.rate


def pretrained(setting: Setting, material: Material) -> None:
    """Have the head learn what the recipe says, from the images to train on or from all of the other dataset."""
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
    """Train; a learning rate that is `auto` is found as a job finds it.

    Raises TrainingDiverged where the loss became infinite, unless it may: what comes after was not asked for.
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
        raise TrainingDiverged(f"{recipe.optimizer} diverged, and this experiment has no place to say so.")
    steps = recipe.count_steps(len(setting.parts.train.images))
    return Run(setting, recipe.optimizer.rate, epochs, diagnosis, steps, has_diverged)


def judged(setting: Setting, examples: Subset) -> tuple[float, float]:
    """Loss and accuracy of a setting's network on the plain views of images."""
    logits = torch.cat(list(forward_plain_views(setting.model.eval(), setting.source, examples.images)))
    labels = torch.from_numpy(examples.labels)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, float((logits.argmax(1) == labels).float().mean())
