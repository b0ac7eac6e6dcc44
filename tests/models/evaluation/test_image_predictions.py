"""The file of predictions, read back by the API's own reader."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.evaluation import image_predictions
from models.evaluation.image_predictions import write_predictions
from service.jobs import predictions
from service.jobs.predictions import PredictionFile, SplitPredictions

NAMES = [f"{(7 * number) % 40:02}.png" for number in range(40)]
RANDOM = np.random.default_rng(0)


def write(logits: np.ndarray, labels: np.ndarray, places: np.ndarray) -> tuple[PredictionFile, SplitPredictions]:
    """Write two splits; gives the file, and the second split."""
    half = len(places) // 2
    splits = {
        "validation": (places[:half], logits[:half], labels[:half]),
        "test": (places, logits, labels),
    }
    file = PredictionFile.from_bytes(write_predictions(splits, NAMES))
    assert list(file.splits["validation"].places) == places[:half].tolist()
    return file, file.splits["test"]


def test_the_version_is_that_of_the_reader() -> None:
    assert image_predictions.VERSION == predictions.VERSION


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_one_label(classes: int) -> None:
    places, labels = np.sort(RANDOM.permutation(40)[:30]), RANDOM.integers(0, classes, 30)
    logits = RANDOM.normal(0, 3, (30, classes)).astype(np.float32)
    file, split = write(logits, labels, places)
    kept = min(classes, 10)
    assert (file.is_multi_label, file.kept) == (False, kept)
    assert list(split.places) == places.tolist()
    order = np.argsort(-logits, 1)[:, :kept]
    assert np.reshape(split.classes, (30, kept)).tolist() == order.tolist()
    probabilities = np.frombuffer(split.probabilities, np.float16).reshape(30, kept)
    wide = torch.from_numpy(logits).double()
    expected = wide.softmax(1).numpy()
    np.testing.assert_allclose(probabilities, np.take_along_axis(expected, order, 1), rtol=1e-3, atol=1e-7)
    losses = -wide.log_softmax(1).numpy()[np.arange(30), labels]
    np.testing.assert_allclose(split.losses, losses, rtol=1e-6)
    assert set(split.counts) == {1}
    assert np.diff(losses[list(split.orders["worst"])]).max() <= 0
    two = np.sort(expected, 1)[:, -2:]
    assert np.diff((two[:, 1] - two[:, 0])[list(split.orders["doubtful"])]).min() >= 0
    files = [NAMES[places[row]] for row in split.orders["name"]]
    assert files == sorted(files)


def test_several_labels() -> None:
    places, targets = np.arange(30), (RANDOM.random((30, 20)) < 0.2).astype(np.float32)
    logits = RANDOM.normal(-1, 2, (30, 20))
    logits[0], logits[1] = 5, -5
    file, split = write(logits, targets, places)
    assert (file.is_multi_label, file.kept) == (True, 10)
    assert list(split.counts) == np.minimum((logits >= 0).sum(1), 10).tolist()
    probabilities = torch.from_numpy(logits).sigmoid().numpy()
    losses = -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean(1)
    np.testing.assert_allclose(split.losses, losses, rtol=1e-5)
    doubts = np.abs(probabilities - 0.5).min(1)
    assert np.diff(doubts[list(split.orders["doubtful"])]).min() >= 0


def test_an_image_takes_at_most_61_bytes() -> None:
    logits, labels, places = RANDOM.normal(size=(1000, 50)), RANDOM.integers(0, 50, 1000), np.arange(1000)
    content = write_predictions({"test": (places, logits, labels)}, [str(number) for number in range(1000)])
    assert len(content) <= 61 * 1000 + 200


def test_more_classes_than_16_bits_count() -> None:
    logits = np.zeros((2, 70_000), np.float32)
    logits[:, 69_999] = 9
    file = PredictionFile.from_bytes(write_predictions({"test": (np.arange(2), logits, np.zeros(2, int))}, ["b", "a"]))
    assert file.splits["test"].classes[0] == file.splits["test"].classes[10] == 69_999
    assert list(file.splits["test"].orders["name"]) == [1, 0]


def test_splits_of_a_job_override_those_of_the_dataset() -> None:
    splits = {
        "validation": (np.array([1]), np.zeros((1, 2)), np.zeros(1, int)),
        "test": (np.array([3, 5]), np.zeros((2, 2)), np.zeros(2, int)),
    }
    file = PredictionFile.from_bytes(write_predictions(splits, list("abcdef")))
    assert list(file.override_splits(bytes([0, 0, 4, 1, 1, 0]))) == [1, 2, 4, 3, 1, 3]
