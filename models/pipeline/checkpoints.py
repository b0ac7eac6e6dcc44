"""Evaluate trained weights, and write the checkpoint of them: the best epoch's, and others that the recipe keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from models.datasets.subset_digest import compute_digest
from models.evaluation.calibration import compute_calibration_error, fit_temperature
from models.evaluation.conformal import measure_sets
from models.evaluation.exact_predictions import compute_exactly_where_near
from models.evaluation.metrics import compute_constant_accuracy, evaluate, evaluate_multi_label
from models.messages import CheckpointWritten
from models.networks.graph_network import GraphNetwork
from models.pipeline.merge_head import compute_logits, describe_network, merge_head, to_plain_layers
from models.pipeline.predictions_file import write_predictions_file
from models.pipeline.spec import name_predictions, name_statistics
from models.pipeline.statistics_file import write_statistics
from models.runtime import checkpoint_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from models.pipeline.setup import Prepared
    from models.pipeline.spec import TrainingSpec
    from models.training.kept_epochs import KeptEpoch
    from models.training.loop import Training
    from models.training.trainable_model import TrainableModel


@dataclass(frozen=True)
class Evaluated:
    """Weights that were calibrated and tested, as the layers that are delivered."""

    layers: nn.Sequential
    temperature: float
    metrics: dict[str, Any]


def write_kept(spec: TrainingSpec, training: Training, ready: Prepared, kept: KeptEpoch) -> CheckpointWritten:
    """Evaluate the weights of an epoch that the recipe keeps beside the best, and write their checkpoint."""
    training.use_weights(kept.state)
    name = kept.kind if kept.kind == "last" else f"{kept.kind}-{kept.epoch}"
    path = spec.checkpoint.with_name(f"{name}{spec.checkpoint.suffix}")
    evaluated = evaluate_weights(training, ready, path)
    metrics = {**evaluated.metrics, "delivered": "epoch", "interpolation": 1.0}
    write_checkpoint(spec, training, ready, replace(evaluated, metrics=metrics), path, kept)
    summary = {part: metrics[part] for part in ("validation", "test")}
    return CheckpointWritten(kind=kept.kind, epoch=kept.epoch, file=path.name, metrics=summary)


def evaluate_weights(training: Training, ready: Prepared, checkpoint: Path) -> Evaluated:
    """Calibrate and test the model's weights, and write their statistics and predictions beside their checkpoint."""
    temperature = fit_temperature(training.validation_logits, ready.validation.labels)
    layers = to_plain_layers(training.model, temperature)
    tested = compute_test_logits(training.model, layers, ready) if len(ready.test.images) else None
    metrics = compute_metrics(training, tested, ready, temperature)
    write_statistics(name_statistics(checkpoint), training, ready, temperature)
    logits = training.validation_logits / temperature, tested and tested[0]
    write_predictions_file(name_predictions(checkpoint), ready, *logits)
    return Evaluated(layers, temperature, metrics)


def compute_metrics(
    training: Training, tested: tuple[np.ndarray, np.ndarray] | None, ready: Prepared, temperature: float
) -> dict[str, Any]:
    """Compute validation and test metrics of what is delivered; `tested` is what `compute_test_logits` gives."""
    shares = ready.train.count_images(len(training.run.classes)) / len(ready.train.images)
    measure = partial(measure_split, classes=training.run.classes, shares=shares, temperature=temperature)
    validation, validation_calibration = measure(training.validation_logits / temperature, ready.validation.labels)
    test, test_calibration = None, None
    if tested is not None:
        logits, is_exact = tested
        test, test_calibration = measure(logits, ready.test.labels)
        held_out = training.validation_logits, ready.validation.labels
        test["sets"] = measure_sets(held_out, (logits * temperature, ready.test.labels))
        test["computed_exactly"] = int(is_exact.sum())
        test["images_digest"] = f"sha256:{digest_test_images(ready, training.run.classes)}"
    return {
        "validation": validation,
        "test": test,
        "initial": {"validation_accuracy": training.initial_accuracy},
        "baselines": training.selection.baselines,
        "delivered": training.selection.name,
        "interpolation": training.selection.share,
        "best_epoch": training.best_epoch,
        "calibration": {
            "temperature": temperature,
            "validation": validation_calibration,
            "test": test_calibration,
        },
    }


def measure_split(
    logits: np.ndarray, labels: np.ndarray, *, classes: list[str], shares: np.ndarray, temperature: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compute the metrics of one split, and its calibration before and after the temperature.

    Args:
        logits: of the delivered network, (n, C).
        labels: (n,), or multi-hot (n, C).
        classes: names of the classes.
        shares: share of the training images in each class, (C,).
        temperature: by which the logits have been divided.
    """
    compute = evaluate if labels.ndim == 1 else evaluate_multi_label
    metrics = {
        **compute(logits, labels, classes),
        "constant_accuracy": compute_constant_accuracy(shares, labels),
        "calibration_error": compute_calibration_error(logits, labels),
    }
    undone = logits * temperature
    return metrics, {
        "before": {
            "loss": compute(undone, labels, classes)["loss"],
            "calibration_error": compute_calibration_error(undone, labels),
        },
        "after": {name: metrics[name] for name in ("loss", "calibration_error")},
    }


def compute_test_logits(model: TrainableModel, layers: nn.Sequential, ready: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """Compute the logits of the test images, (n, C), and a mask of those that were computed exactly."""
    images = ready.test.images
    compute_exactly = partial(compute_logits, model, layers, ready.exact_features)
    if ready.is_tested_exactly:
        return compute_exactly(images), np.ones(len(images), bool)
    return compute_exactly_where_near(partial(compute_logits, model, layers, ready.features), compute_exactly, images)


def digest_test_images(ready: Prepared, classes: list[str]) -> str:
    """Compute the digest of the test images with their labels, by which results can be compared."""
    digests = ready.features.pack.lossless_digests
    return compute_digest([digests[image] for image in ready.test.images], ready.test.labels, classes)


def write_checkpoint(
    spec: TrainingSpec,
    training: Training,
    ready: Prepared,
    evaluated: Evaluated,
    path: Path,
    kept: KeptEpoch | None = None,
) -> None:
    """Write a checkpoint: the network with its head merged, and its metadata; `kept`: it is not the best epoch's."""
    backbone, classes, recipe = ready.backbone, spec.dataset.classes, training.recipe
    merge_head(ready.slot, evaluated.layers)
    network, structure = describe_network(ready.slot)
    is_graph = isinstance(network, GraphNetwork)
    metadata = checkpoint_file.collect_metadata(
        architecture="graph" if is_graph else backbone.architecture,
        num_classes=len(classes),
        class_names=classes,
        task=recipe.task,
        pretrained_cfg={
            **backbone.pretrained_cfg,
            "input_size": list(ready.preprocessing.input_size),
            "num_classes": len(classes),
            "label_names": classes,
        },
        model_args={} if is_graph else backbone.model_args,
        decoding=ready.features.pack.decoding.to_dict(),
        **structure,
        recipe=recipe.model_dump(mode="json"),
        metrics=evaluated.metrics,
        temperature=evaluated.temperature,
        **({} if kept is None else {"kind": kept.kind, "epoch": kept.epoch}),
        dataset_digest=f"sha256:{spec.dataset.digest}",
        counts={
            "train": len(ready.train.labels),
            "validation": len(ready.validation.labels),
            "test": len(ready.test.labels),
        },
        backbone=backbone.name,
        **({"backbone_revision": backbone.revision} if backbone.revision else {}),
        **({"lineage": backbone.lineage} if backbone.lineage else {}),
        backbone_digest=f"sha256:{backbone.digest}",
        licence=backbone.licence or "unknown",
        job=spec.job,
        trained_tensors=ready.find_changed(network.state_dict()),
        seed=recipe.seed,
        device=ready.features.trunk.device.type,
    )
    checkpoint_file.write(path, network.state_dict(), metadata)
