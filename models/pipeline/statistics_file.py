"""Write the prediction statistics of a fine-tuned model, beside its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.evaluation import prediction_statistics
from models.evaluation.novelty import project
from models.features.sources import forward_plain_views

if TYPE_CHECKING:
    from pathlib import Path

    from models.pipeline.setup import Prepared
    from models.training.inputs import Subset
    from models.training.loop import Training

MOST_IMAGES = 4096
"""Training images whose features are looked at, or LEAST_EACH of every class where that is more."""
LEAST_EACH = 16


def write_statistics(path: Path, training: Training, ready: Prepared, temperature: float) -> None:
    """Measure the statistics of the trained model on validation and training images, and write them."""
    validation, learned = ready.validation, _sample(ready.train, len(training.run.classes), ready.recipe.seed)
    measured = prediction_statistics.measure(
        training.validation_logits,
        validation.labels,
        temperature,
        _compute_projected(training, ready, validation.images),
        (_compute_projected(training, ready, learned.images), learned.labels),
    )
    path.write_bytes(measured.to_bytes())


def _sample(subset: Subset, num_classes: int, seed: int) -> Subset:
    """Choose images at random where there are more than are looked at, in the order in which they are stored."""
    most = max(MOST_IMAGES, LEAST_EACH * num_classes)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(subset.images))[:most])
    return type(subset)(subset.images[chosen], subset.labels[chosen])


def _compute_projected(training: Training, ready: Prepared, images: np.ndarray) -> np.ndarray:
    """Compute the projected features, (n, d), on which the head stands."""
    model = training.model
    with model.evaluating():
        batches = forward_plain_views(model.top, ready.features, images)
        return np.concatenate([project(batch.float().cpu().numpy()) for batch in batches])
