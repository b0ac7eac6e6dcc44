"""Candidate backbones: how well a backbone's features tell the images of a dataset apart, and what a job would cost.

The setup is a job's own, and so are the features, which the job then finds in the cache. Only training images are
looked at. The accuracy is that of a linear classifier in closed form on a sample of them, each left out in its turn.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models import backbones
from models.evaluation.metrics import compute_constant_accuracy, compute_losses, evaluate_multi_label
from models.messages import BackboneFigures
from models.pipeline.candidate_costs import count_checkpoint_bytes
from models.pipeline.setup import prepare
from models.pipeline.train_recipe import plan
from models.runtime.supervisor_callbacks import no_heartbeat
from models.training.inputs import Subset
from models.training.leave_one_out import predict_left_out
from models.training.trainable_model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from models.datasets.pack import Pack
    from models.pipeline.setup import Prepared
    from models.pipeline.spec import TrainingSpec
    from models.runtime.supervisor_callbacks import Context

SAMPLE = 2000
"""Most training images that are looked at."""
REPLICATES = 200
"""Bootstrap samples of the images, the same for all backbones."""


def draw_sample(pack: Pack, train: Subset) -> Subset:
    """Draw at most SAMPLE training images by their content, so that every machine draws the same."""
    digests = pack.lossless_digests
    by_digest = sorted(range(len(train.images)), key=lambda place: digests[train.images[place]])
    places = np.sort(np.array(by_digest[:SAMPLE]))
    return Subset(train.images[places], train.labels[places])


def measure_backbone(
    spec: TrainingSpec, pack: Pack, context: Context
) -> Generator[float, None, tuple[Prepared, BackboneFigures]]:
    """Measure the backbone of a training spec on its dataset; yields the share of the sample that is computed.

    Raises BackboneError, SurgeryError, FeaturesNotFinite.
    """
    named = spec.backbone
    backbones.load(named.name, spec.local_backbones, None, named.folder, named.commit)  # a job has it
    began = time.monotonic()
    ready = prepare(spec, pack, context)
    prepare_seconds = time.monotonic() - began

    source, classes = ready.features, spec.dataset.classes
    sample = draw_sample(pack, ready.train)
    done = 0
    for batch, _ in source.read_batches(sample.images, 0, source.read_batch_size):
        done += len(batch)
        yield done / len(sample.images)
    counts = source.counts
    computed, saved_before = counts.misses, counts.saved_seconds
    model = TrainableModel.from_recipe(ready.recipe, len(classes), ready.cut_network, source, sample.images)
    seconds_per_image = (counts.saved_seconds - saved_before) / len(sample.images)

    features = model.compute_features(source, sample.images).cpu()
    logits = predict_left_out(features, sample.labels, len(classes))
    images = sum(len(subset.images) for subset in (ready.train, ready.validation, ready.test))
    return ready, BackboneFigures(
        **measure_accuracy(logits, sample.labels, classes, context.heartbeat),
        sample=len(sample.images),
        computed=computed,
        seconds=prepare_seconds + plan(ready).work * seconds_per_image,
        seconds_per_image=seconds_per_image,
        checkpoint_bytes=count_checkpoint_bytes(ready, model),
        features_bytes=images * source.bytes_per_row,
        engine=str(ready.engine.config),
    )


def measure_accuracy(
    logits: np.ndarray, labels: np.ndarray, classes: list[str], heartbeat: Callable[[], None] = no_heartbeat
) -> dict[str, Any]:
    """Measure the metric of jobs on logits (n, C) of images that were left out: fields of BackboneFigures.

    Of one label an image, accuracy; of several, mean average precision. Replicates are that metric on bootstrap samples
    of the images (Efron, 1979), drawn alike for all backbones, so that two can be compared image by image.
    """
    draws = np.random.default_rng(0).integers(len(labels), size=(REPLICATES, len(labels)))
    if labels.ndim == 2:
        replicates = []
        for drawn in draws:
            replicates.append(evaluate_multi_label(logits[drawn], labels[drawn], classes)["map"])
            heartbeat()
        constant = evaluate_multi_label(np.zeros_like(logits), labels, classes)["map"]
        value, metric, balanced = evaluate_multi_label(logits, labels, classes)["map"], "map", None
        loss = float(np.square(logits + 0.5 - labels).mean())  # of ridge regression, whose logits are y - 1/2
    else:
        is_right = logits.argmax(1) == labels
        replicates = is_right[draws].mean(1).tolist()
        shares = np.bincount(labels, minlength=len(classes)) / len(labels)
        constant, value, metric = compute_constant_accuracy(shares, labels), float(is_right.mean()), "accuracy"
        loss = float(compute_losses(logits, labels).mean())
        balanced = float(np.mean([is_right[labels == label].mean() for label in np.unique(labels)]))
    return {
        "metric": metric,
        "value": value,
        "loss": loss,
        "replicates": replicates,
        "constant": constant,
        "balanced_accuracy": balanced,
    }
