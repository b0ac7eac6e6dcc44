"""Pretraining of the new layers, before they learn their task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from models.catalog.pretraining import Autoencoder, OtherLabels, RestrictedBoltzmannMachine, Rotation
from models.limit import NONE
from models.pretraining import autoencoder, boltzmann
from models.pretraining.auxiliary import learn_first
from models.pretraining.layerwise import fit_layers
from models.pretraining.tasks import Labels, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from models.catalog.pictures import PictureAugmentation
    from models.catalog.recipe import Recipe
    from models.events import Noted
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted
    from models.limit import Limit

__all__ = ["Material", "pretrain"]


@dataclass(frozen=True)
class Material:
    """What there is to pretrain with."""

    opened: Callable[[Sequence[PictureAugmentation]], Source]
    """The pictures through the trunk: view 0 plain, the others through these augmentations."""
    examples: Examples
    classes: Sequence[str]
    limit: Limit = NONE


def pretrain(recipe: Recipe, grafted: Grafted, material: Material) -> Generator[Noted, None, Recipe]:
    """Train what is below the head's output layer, which stays as it is; says what is learned, and how well.

    Hidden layers alone are fitted one by one. Another task trains them together, and the backbone's stages above the
    cut where the recipe trains them. The recipe is resolved, but for its learning rates; returns the same with that of
    pretraining known.

    Raises TrainingDiverged.
    """
    match recipe.pretraining:
        case Autoencoder() as chosen:
            yield from fit_layers(recipe, grafted, material, partial(autoencoder.fit, chosen))
        case RestrictedBoltzmannMachine() as chosen:
            yield from fit_layers(recipe, grafted, material, partial(boltzmann.fit, chosen))
        case Rotation() as chosen:
            recipe = yield from learn_first(recipe, chosen, grafted, Turns(material), material.limit)
        case OtherLabels() as chosen:
            recipe = yield from learn_first(recipe, chosen, grafted, Labels(material, recipe), material.limit)
    grafted.eval()
    return recipe
