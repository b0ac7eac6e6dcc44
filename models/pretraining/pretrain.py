"""Pretraining of the new layers, before they learn their task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from models.catalog.pretraining import Autoencoder, OtherLabels, RestrictedBoltzmannMachine, Rotation
from models.pretraining import autoencoder, rbm
from models.pretraining.greedy_layerwise import fit_layers
from models.pretraining.pretext_tasks import Labels, Turns
from models.pretraining.pretext_training import learn_first
from models.runtime.stop_condition import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from models.catalog.image_ops import ImageAugmentation
    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.messages import Noted
    from models.runtime.stop_condition import StopCondition
    from models.training.model import TrainableModel
    from models.training.subset import Subset

__all__ = ["Material", "pretrain"]


@dataclass(frozen=True)
class Material:
    """What there is to pretrain with."""

    opened: Callable[[Sequence[ImageAugmentation]], FeatureSource]
    """The images through the trunk: view 0 plain, the others through these augmentations."""
    examples: Subset
    classes: Sequence[str]
    stop_condition: StopCondition = NONE


def pretrain(recipe: Recipe, model: TrainableModel, material: Material) -> Generator[Noted, None, Recipe]:
    """Train what is below the head's output layer, which stays as it is; says what is learned, and how well.

    Hidden layers alone are fitted one by one. Another task trains them together, and the backbone's stages above the
    cut where the recipe trains them. The recipe is resolved, but for its learning rates; returns the same with that of
    pretraining known.

    Raises TrainingDiverged.
    """
    match recipe.pretraining:
        case Autoencoder() as chosen:
            yield from fit_layers(recipe, model, material, partial(autoencoder.fit, chosen))
        case RestrictedBoltzmannMachine() as chosen:
            yield from fit_layers(recipe, model, material, partial(rbm.fit, chosen))
        case Rotation() as chosen:
            recipe = yield from learn_first(recipe, chosen, model, Turns(material), material.stop_condition)
        case OtherLabels() as chosen:
            recipe = yield from learn_first(recipe, chosen, model, Labels(material, recipe), material.stop_condition)
    model.eval()
    return recipe
