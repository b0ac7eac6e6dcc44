"""Pretraining of the layers below the output, before they learn their task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from models.catalog.pretraining import Autoencoder, OtherLabels, RestrictedBoltzmannMachine, Rotation
from models.pretraining import autoencoder, rbm
from models.pretraining.greedy_layerwise import fit_layers
from models.pretraining.pretext_tasks import OtherLabelsTask, RotationTask
from models.pretraining.pretext_training import train_on_pretext

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from models.catalog.image_ops import ImageAugmentation
    from models.features.sources import FeatureSource
    from models.messages import Noted
    from models.training.inputs import Subset, TrainingRun

__all__ = ["Material", "pretrain"]


@dataclass(frozen=True)
class Material:
    """The images to pretrain on."""

    open_source: Callable[[Sequence[ImageAugmentation]], FeatureSource]
    """Gives the images' features: view 0 plain, the others through these augmentations."""
    examples: Subset
    classes: Sequence[str]


def pretrain(run: TrainingRun, material: Material) -> Generator[Noted, None, TrainingRun]:
    """Pretrain the layers below the head's output layer, which stays unchanged.

    Autoencoders and restricted Boltzmann machines fit hidden layers one by one. A pretext task trains them together,
    and the backbone's stages above the cut where the recipe trains them. Returns the run with pretraining's learning
    rate in its recipe.

    Raises TrainingDiverged.
    """
    match run.recipe.pretraining:
        case Autoencoder() as chosen:
            yield from fit_layers(run, material, partial(autoencoder.fit, chosen))
        case RestrictedBoltzmannMachine() as chosen:
            yield from fit_layers(run, material, partial(rbm.fit, chosen))
        case Rotation() as chosen:
            run = yield from train_on_pretext(run, chosen, RotationTask(material))
        case OtherLabels() as chosen:
            run = yield from train_on_pretext(run, chosen, OtherLabelsTask(material, run.recipe))
    run.model.eval()
    return run
