"""Seconds per epoch of a linear head by number of images, features and classes: `make scale`.

Features are drawn at random, and lie in the cache. The floor is what cannot be left out: rows are read in the same
random order, made float32, and go through the two products of a step, forth and back. Memory is the growth
of the process's private memory at its peak, without mapped files, which the kernel may drop.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.memory import PeakMemory
from models.catalog.recipe import Recipe
from models.datasets.pack import Entry, Pack, write_index
from models.features.cache import FeatureCache
from models.features.sources import CachedFeatures
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.preprocessing import Preprocessing
from models.images.views import Views
from models.messages import EpochEnded
from models.networks.cut_network import CutNetwork
from models.runtime.tuning import TUNING
from models.training.inputs import Subset, TrainingRun
from models.training.loop import Training
from models.training.trainable_model import TrainableModel

IMAGES, FEATURES, CLASSES = (1_000, 10_000, 100_000), (576, 2048), (10, 1_000)
AT_ONCE = 4096
"""Rows per write to the cache."""
CHOICES = {
    "epochs": 3,
    "batch_size": 64,
    "optimizer": {"lr": 1e-3},
    "head": {"start": "zero"},
    "cache": {"views": 0},
    "early_stopping": None,
}
PLAIN = Preprocessing((3, 32, 32), "bicubic", (0.0,) * 3, (1.0,) * 3, 1.0, "center")


def main() -> None:
    """Run each size in a process of its own, and print a table in Markdown."""
    print(f"{describe()}\n\n| images | features | classes | seconds an epoch | of the floor | memory |")
    print("|---|---|---|---|---|---|")
    for size in itertools.product(IMAGES, FEATURES, CLASSES):
        command = [sys.executable, "-m", "benchmarks.scale", *map(str, size)]
        done = subprocess.run(command, env={**os.environ, **TUNING}, check=True, capture_output=True, text=True)
        seconds, least, megabytes = json.loads(done.stdout)
        figures = " | ".join(f"{number:,}" for number in size)
        print(f"| {figures} | {seconds:.3f} | {seconds / least:.2f} | {megabytes:,.0f} MB |", flush=True)


def measure(images: int, num_features: int, num_classes: int) -> tuple[float, float, float]:
    """Measure the seconds of an epoch, those of its floor, and megabytes."""
    labels = np.arange(images) % num_classes
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        source = draw_features(Path(name), labels, num_features, num_classes)
        parts = np.split(np.random.default_rng(0).permutation(images), [round(0.85 * images)])
        train, validation = (Subset(np.sort(part), labels[np.sort(part)]) for part in parts)
        with PeakMemory() as memory:
            epochs = list(train_head(source, train, validation, num_features, num_classes))
        return epochs[-1].seconds, measure_floor(source, train.images, num_features, num_classes), memory.megabytes


def draw_features(folder: Path, labels: np.ndarray, num_features: int, num_classes: int) -> CachedFeatures:
    """Draw random features around a centre for each class, and store them in a cache."""
    random = np.random.default_rng(0)
    (folder / "pack").write_bytes(b"x")
    with (folder / "index").open("wb") as index:
        write_index(index, [Entry(random.bytes(32), 0, 1, 1, 1, (int(label),), "", "") for label in labels])
    pack = Pack(folder / "pack", folder / "index")
    store = FeatureStore(FeatureCache(folder / "cache"), {}, (num_features,), np.dtype(np.float16))
    centres = random.standard_normal((num_classes, num_features), np.float32)
    with store.lock():
        for start in range(0, len(labels), AT_ONCE):
            part = labels[start : start + AT_ONCE]
            rows = centres[part] + random.standard_normal((len(part), num_features), np.float32)
            store.append(pack.digests[start : start + AT_ONCE], 0, rows, 0.0)
    trunk = Trunk(torch.nn.Identity(), PLAIN, torch.device("cpu"))
    return CachedFeatures(pack, Views(PLAIN, ()), trunk, lambda _: store)


def train_head(
    source: CachedFeatures, train: Subset, validation: Subset, num_features: int, num_classes: int
) -> list[EpochEnded]:
    """Train a linear head; return its epochs."""
    classes = [str(number) for number in range(num_classes)]
    counts = np.bincount(train.labels, minlength=num_classes)
    recipe = Recipe.model_validate(CHOICES).resolve(
        task="single_label",
        image_size=32,
        num_features=num_features,
        class_counts=dict(zip(classes, counts.tolist(), strict=True)),
        images=len(train.images),
    )
    cut_network = CutNetwork(None, torch.nn.Identity(), "", (num_features,), "")
    model = TrainableModel.from_recipe(recipe, num_classes, cut_network, source, train.images)
    training = Training(TrainingRun(recipe, classes, model, source, train, validation))
    return [event for event in training.train() if isinstance(event, EpochEnded)]


def measure_floor(source: CachedFeatures, images: np.ndarray, num_features: int, num_classes: int) -> float:
    """Measure the seconds of an epoch's reads and matrix products alone."""
    rows = source.read_all(images, 0)
    order = np.random.default_rng(0).permutation(len(rows))
    weight = torch.randn(num_classes, num_features) / num_features**0.5
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, len(order), 64):
            given = torch.from_numpy(rows[order[start : start + 64]]).float()
            logits = given @ weight.T
            (logits.T @ given).sum()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        json.dump(measure(*map(int, sys.argv[1:])), sys.stdout)
    else:
        main()
