"""Accuracy of the empty recipe against a linear probe: `make accuracy DATASET=path BACKBONE=local/NAME`.

The probe is scikit-learn's: features of the plain images, standardized, logistic regression with C = 0.1. All are
tested on the same images, in several random stratified splits (70 : 15 : 15). The recipe trains on the 70% and stops
by the 15% for validation; the probe needs no validation, so it is fitted once to the 70% and once to the 85%.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.floor import pack_dataset
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from models import backbones
from models.catalog.recipe import Recipe
from models.evaluation.calibration import fit_temperature
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.features.sources import CachedFeatures
from models.networks.cut_network import CutNetwork
from models.networks.feature_network import cut_before_classifier
from models.pipeline.merge_head import to_plain_layers
from models.training.inputs import Subset, TrainingRun
from models.training.start import start_training
from models.training.trainable_model import TrainableModel

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from models.datasets.pack import Pack
    from models.training.loop import Training

Returned = TypeVar("Returned")

SPLITS = 20


class Split(NamedTuple):
    """Images to train on, to validate on and to test on: their indices."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Trained(NamedTuple):
    """A training that is over, and its logits of the test images before they are divided by the temperature."""

    training: Training
    logits: np.ndarray
    labels: np.ndarray
    temperature: float
    features: np.ndarray
    """Plain features of the test images."""

    @property
    def accuracy(self) -> float:
        """Test accuracy."""
        return float((self.logits.argmax(1) == self.labels).mean())


def main() -> None:
    """Run the benchmark and print a row in Markdown."""
    with open_material("make accuracy", __doc__) as (dataset, backbone, pack, classes, features):
        pairs = [compare(pack, classes, features, seed) for seed in range(SPLITS)]
    print(describe())
    figures = " | ".join(format_spread(values) for values in zip(*pairs, strict=True))
    print(f"| {dataset.name} | {backbone} | {figures} |")


class Material(NamedTuple):
    """The images of a benchmark, and their features by a backbone."""

    dataset: Path
    backbone: str
    pack: Pack
    classes: list[str]
    features: CachedFeatures


@contextmanager
def open_material(command: str, description: str | None) -> Iterator[Material]:
    """Open the dataset and the backbone that a benchmark's command line names, in a temporary folder."""
    parser = build_parser(command, description)
    parser.add_argument("--cache", type=Path, help="a feature cache to use, such as a service's")
    chosen = parser.parse_args()
    with scratch(chosen.dataset) as (folder, dataset):
        pack, classes = pack_dataset(folder, dataset)
        features = open_features(pack, chosen.backbone, chosen.cache or folder / "cache")
        yield Material(dataset, chosen.backbone, pack, classes, features)


def open_features(pack: Pack, backbone: str, cache: Path) -> CachedFeatures:
    """Open the cached features of the empty recipe's views."""
    loaded = backbones.load(backbone, BACKBONES)
    preprocessing = loaded.preprocessing
    identity = {"architecture": loaded.architecture, "model_args": loaded.model_args}
    feature_network = cut_before_classifier(loaded.network, preprocessing.input_size, identity)
    cut_network = CutNetwork.from_feature_network(feature_network)
    extractor = Extractor(cut_network, preprocessing, torch.device("cpu"), FeatureCache(cache))
    extractor.choose_engine("auto", "auto", pack, np.arange(len(pack)))
    features = extractor.open_source(pack, Recipe().image_augmentations)
    assert isinstance(features, CachedFeatures)
    return features


def compare(pack: Pack, classes: list[str], features: CachedFeatures, seed: int) -> tuple[float, float, float]:
    """Compare the test accuracies of the empty recipe and of the probe, fitted to 70% and to 85%, on one split."""
    labels = pack.labels
    split = split_images(labels, seed)
    rest = np.concatenate([split.train, split.validation])
    ours = train_recipe(Recipe(), labels, classes, features, split, seed)
    return (
        ours.accuracy,
        fit_probe(features, labels, split.train, split.test),
        fit_probe(features, labels, rest, split.test),
    )


def split_images(labels: np.ndarray, seed: int) -> Split:
    """Split the images at random into training, validation and test, stratified by class."""
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.15, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.15 / 0.85, stratify=labels[rest], random_state=seed)
    train.sort()
    return Split(train, validation, test)


def train_recipe(
    recipe: Recipe, labels: np.ndarray, classes: list[str], features: CachedFeatures, split: Split, seed: int
) -> Trained:
    """Train a recipe on one split of images with these labels, (n,)."""
    train, validation, test = split
    counts = np.bincount(labels[train], minlength=len(classes)).tolist()
    plain_test = features.read_all(test, 0).astype(np.float32)
    resolved = recipe.model_copy(update={"seed": seed}).resolve(
        task="single_label",
        image_size=32,  # any: the features are there already
        num_features=plain_test.shape[1],
        class_counts=dict(zip(classes, counts, strict=True)),
        images=len(train),
    )
    learn, check = Subset(train, labels[train]), Subset(validation, labels[validation])
    cut_network = CutNetwork(None, torch.nn.Identity(), "", plain_test.shape[1:], "")
    model = TrainableModel.from_recipe(resolved, len(classes), cut_network, features, train)
    training = finish(start_training(TrainingRun(resolved, classes, model, features, learn, check)))
    for _ in training.train():
        pass
    temperature = fit_temperature(training.validation_logits, labels[validation])
    with torch.inference_mode():
        logits = to_plain_layers(model)(torch.from_numpy(plain_test)).numpy()
    return Trained(training, logits, labels[test], temperature, plain_test)


def finish(events: Generator[Any, None, Returned]) -> Returned:
    """Run a generator to its end; return what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            returned: Returned = end.value
            return returned


def fit_probe(features: CachedFeatures, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Fit the probe and return its test accuracy."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(features.read_all(train, 0).astype(np.float32), labels[train])
    return float(probe.score(features.read_all(test, 0).astype(np.float32), labels[test]))


def format_spread(values: tuple[float, ...]) -> str:
    """Format mean and standard deviation in percent."""
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
