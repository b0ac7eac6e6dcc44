"""Preprocessings are tried on samples, and the best is found by the network's classes or by a probe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.images.preprocessing import Preprocessing
from models.importers.sample_trials import (
    ORDERS,
    RANGES,
    SampleSet,
    compute_mcnemar,
    is_better_than_chance,
    normalize,
    probe,
    try_preprocessings,
)
from models.importers.samples import Sample
from models.runtime.supervisor_callbacks import no_heartbeat

SIZE = Preprocessing((3, 16, 16), "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0, "center")
COLOURS = {"red": (200, 40, 30), "green": (50, 190, 60), "blue": (30, 60, 210), "grey": (90, 90, 90)}


class ColourNetwork(nn.Module):
    """Tells colours by how near the mean of an image is to each of them, as a preprocessing gives them."""

    num_classes = len(COLOURS)

    def __init__(self, order: str, scale: str) -> None:
        super().__init__()
        mean, std = (np.array(values) for values in RANGES[scale])
        known = (np.array(list(COLOURS.values())) / 255 - mean) / std
        self.register_buffer("known", torch.tensor(known[:, ::-1].copy() if order == "bgr" else known).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(images.mean((2, 3)), self.known)


def make_samples(count: int = 5) -> list[Sample]:
    random = np.random.default_rng(0)
    made = []
    for name, colour in COLOURS.items():
        for _ in range(count):
            pixels = np.array(colour) + random.normal(0, 12, (20, 20, 3)) + random.normal(0, 12, 3)
            made.append(Sample(name, Image.fromarray(pixels.clip(0, 255).astype(np.uint8))))
    return made


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scale", RANGES)
def test_the_right_preprocessing_is_among_the_best(order: str, scale: str) -> None:
    samples = SampleSet.prepare(make_samples(), SIZE, list(COLOURS), len(COLOURS))
    network: Any = ColourNetwork(order, scale)
    check = try_preprocessings(network, samples, no_heartbeat)
    assert (check.images, check.classes, check.measured_by, check.unmatched) == (20, 4, "classifier", [])
    assert len(check.trials) == len(ORDERS) * len(RANGES)
    assert [trial.accuracy for trial in check.trials] == sorted((one.accuracy for one in check.trials), reverse=True)
    right = next(trial for trial in check.trials if trial.name == f"{order.upper()}, {scale}")
    assert right.accuracy == check.trials[0].accuracy == 1.0
    flipped = next(trial for trial in check.trials if trial.name.endswith(scale) and trial.channel_order != order)
    assert flipped.accuracy < 0.9
    assert is_better_than_chance(check, len(COLOURS))


def test_classes_that_the_network_lacks_are_probed() -> None:
    samples = SampleSet.prepare(make_samples(), SIZE, ["cat", "dog", "owl", "fox"], len(COLOURS))
    network: Any = ColourNetwork("rgb", "0 to 1")
    check = try_preprocessings(network, samples, no_heartbeat)
    assert check.measured_by == "probe"
    assert check.unmatched == sorted(COLOURS)
    assert check.trials[0].accuracy > 0.9


def test_mcnemar_is_the_exact_sign_test() -> None:
    """One is right on 7 of the 8 images on which two differ: p = 2 (C(8, 0) + C(8, 1)) / 2^8."""
    first = np.array([True] * 7 + [False] + [True] * 10)
    second = np.array([False] * 7 + [True] + [True] * 10)
    assert compute_mcnemar(first, second) == pytest.approx(2 * 9 / 256)
    assert compute_mcnemar(first, first) == 1.0


def test_the_probe_is_leave_one_out_ridge_regression() -> None:
    random = np.random.default_rng(1)
    classes = np.repeat([0, 1, 2], 8)
    features = random.normal(size=(24, 5)) + np.eye(3)[classes] @ random.normal(size=(3, 5)) * 2
    expected = []
    scaled = (features - features.mean(0)) / features.std(0)
    targets = np.eye(3)[classes] - np.eye(3)[classes].mean(0)
    ridge = 0.1 * np.trace(scaled @ scaled.T) / 24
    for index in range(24):
        rest = np.arange(24) != index
        gram = scaled[rest].T @ scaled[rest] + ridge * np.eye(5)
        expected.append((scaled[index] @ np.linalg.solve(gram, scaled[rest].T @ targets[rest])).argmax())
    np.testing.assert_array_equal(probe(features, classes), expected)


def test_normalization_is_that_of_training() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(1, 3, 2, 4)
    trial = next(iter(try_names("bgr")))
    found = normalize(pixels, trial)
    expected = (pixels / 255 - np.array(trial.mean).reshape(1, 3, 1, 1)) / np.array(trial.std).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(found, expected[:, ::-1], rtol=1e-6, atol=1e-7)


def try_names(order: Any) -> Any:
    from models.importers.report import Trial

    for name, (mean, std) in RANGES.items():
        if name.startswith("ImageNet"):
            yield Trial(name=name, channel_order=order, mean=mean, std=std, accuracy=0.0)
