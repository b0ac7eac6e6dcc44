"""Try preprocessings on the user's samples: RGB and BGR, and the ranges of values that networks take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from models.images.views import Views
from models.importers.report import SampleCheck, Trial
from models.importers.samples import match_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.images.preprocessing import Preprocessing
    from models.importers.samples import Sample
    from models.networks.types import TimmNetwork

    Numbers = tuple[float, float, float]

BATCH = 8
SIGNIFICANCE = 0.01
RIDGE = 0.1
"""Regularization of the probe, as a share of the features' mean variance."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
RANGES: dict[str, tuple[Numbers, Numbers]] = {
    "0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "ImageNet's mean and deviation": (IMAGENET_MEAN, IMAGENET_STD),
    "0 to 255 less ImageNet's mean, as of Caffe": (CAFFE_MEAN, (1 / 255, 1 / 255, 1 / 255)),
}
"""By name: mean and std for values from 0 to 1."""
ORDERS: tuple[Literal["rgb", "bgr"], ...] = ("rgb", "bgr")


@dataclass(frozen=True)
class SampleSet:
    """Samples as a network's input before normalization."""

    pixels: np.ndarray
    """(N, 3, H, W) uint8, RGB."""
    classes: np.ndarray
    """(N,) indices: of the network's classes, or for a probe of the samples' own."""
    is_probe: bool
    unmatched: list[str]

    @classmethod
    def prepare(
        cls, samples: Sequence[Sample], preprocessing: Preprocessing, labels: Sequence[str] | None, num_classes: int
    ) -> SampleSet:
        """Resize and crop samples, and find their classes; those that match none are left out, unless all do not."""
        matched = match_classes(samples, labels, num_classes) if num_classes else {}
        unmatched = sorted({sample.name for sample in samples} - matched.keys())
        is_probe = not matched
        if is_probe:
            matched = {name: index for index, name in enumerate(unmatched)}
        views = Views(preprocessing, [])
        used = [sample for sample in samples if sample.name in matched]
        pixels = np.stack([views.render(sample.image, b"", 0) for sample in used])
        classes = np.array([matched[sample.name] for sample in used])
        return cls(pixels, classes, is_probe, [] if is_probe and not num_classes else unmatched)


def try_preprocessings(
    network: TimmNetwork, samples: SampleSet, heartbeat: Callable[[], None], used: Trial | None = None
) -> SampleCheck:
    """Measure the accuracy of every preprocessing on the samples; `used` is the backbone's own, if it is known.

    `network` gives logits, or features where the samples' classes are not its own.
    """
    trials = [
        Trial(name=f"{order.upper()}, {name}", channel_order=order, mean=mean, std=std, accuracy=0.0)
        for order in ORDERS
        for name, (mean, std) in RANGES.items()
    ]
    hits = [_count_hits(network, samples, trial, heartbeat) for trial in trials]
    ranked = sorted(range(len(trials)), key=lambda index: -float(hits[index].mean()))
    shown = [trials[index].model_copy(update={"accuracy": float(hits[index].mean())}) for index in ranked]
    first, second = hits[ranked[0]], hits[ranked[1]]
    return SampleCheck(
        images=len(samples.classes),
        classes=len(set(samples.classes.tolist())),
        measured_by="probe" if samples.is_probe else "classifier",
        accuracy=None if used is None else float(_count_hits(network, samples, used, heartbeat).mean()),
        trials=shown,
        is_clear=compute_mcnemar(first, second) < SIGNIFICANCE,
        unmatched=samples.unmatched[:20],
    )


def compute_mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the p-value of McNemar's exact test (1947): two classifiers err equally often on the same images."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total, least = only_first + only_second, min(only_first, only_second)
    tail: float = sum(math.comb(total, count) for count in range(least + 1)) / 2**total
    return min(1.0, 2 * tail)


def is_better_than_chance(check: SampleCheck, num_classes: int) -> bool:
    """Tell whether the best preprocessing finds more classes than guessing would, by the binomial test."""
    chance = 1 / max(check.classes, 2) if check.measured_by == "probe" else 1 / max(num_classes, 2)
    hits = round(check.trials[0].accuracy * check.images)
    tail = sum(
        math.comb(check.images, count) * chance**count * (1 - chance) ** (check.images - count)
        for count in range(hits, check.images + 1)
    )
    return bool(tail < SIGNIFICANCE)


def _count_hits(network: TimmNetwork, samples: SampleSet, trial: Trial, heartbeat: Callable[[], None]) -> np.ndarray:
    """Tell for each sample whether its class is found."""
    outputs = _run(network, samples.pixels, trial, heartbeat)
    if samples.is_probe:
        outputs = np.eye(len(samples.classes))[probe(outputs, samples.classes)]
    return np.asarray(outputs.argmax(1) == samples.classes)


@torch.inference_mode()
def _run(network: TimmNetwork, pixels: np.ndarray, trial: Trial, heartbeat: Callable[[], None]) -> np.ndarray:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (trial.mean, trial.std))
    outputs = []
    for start in range(0, len(pixels), BATCH):
        heartbeat()
        images = (torch.from_numpy(pixels[start : start + BATCH]).float() / 255 - mean) / std
        images = images.flip(1) if trial.channel_order == "bgr" else images
        outputs.append(network(images).flatten(1).double().numpy())
    found: np.ndarray = np.nan_to_num(np.concatenate(outputs), nan=0.0, posinf=0.0, neginf=0.0)
    return found


def probe(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Predict each image's class by a linear probe on all the others, features (N, D).

    Ridge regression onto the classes, with the leave-one-out residuals in closed form, r / (1 - h) (Allen, 1974).
    """
    centred = features - features.mean(0)
    centred = centred / np.maximum(centred.std(0), 1e-12)
    targets = np.eye(int(classes.max()) + 1)[classes]
    targets = targets - targets.mean(0)
    kernel = centred @ centred.T / centred.shape[1]
    ridge = RIDGE * max(float(np.trace(kernel)) / len(kernel), 1e-12)
    hat = kernel @ np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    residuals = (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
    predicted: np.ndarray = (targets - residuals).argmax(1)
    return predicted


def normalize(pixels: np.ndarray, trial: Trial) -> np.ndarray:
    """Normalize images (B, 3, H, W), uint8 RGB, into float32 in the network's order of channels."""
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (trial.mean, trial.std))
    images: np.ndarray = ((pixels.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)
    return np.ascontiguousarray(images[:, ::-1]) if trial.channel_order == "bgr" else images
