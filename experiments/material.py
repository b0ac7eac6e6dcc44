"""Datasets and backbones of the experiments, with a cache of features."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.model_selection import train_test_split

from benchmarks.floor import pack_dataset
from demo.digits import write_archive
from demo.rendering import DRAWINGS, render
from models import backbones
from models.catalog.cuts import All, Nothing
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.networks.cut_network import cut_at
from models.networks.feature_network import cut_before_classifier
from models.training.inputs import Subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.backbones.backbone import Backbone
    from models.catalog.cuts import Cut
    from models.catalog.image_ops import ImageAugmentation
    from models.datasets.pack import Pack
    from models.features.sources import FeatureSource
    from models.images.preprocessing import Preprocessing
    from models.networks.cut_network import CutNetwork
    from models.networks.types import TimmNetwork

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".experiments"
"""Folder of cached features, kept between runs."""
GIVEN = Path(os.environ["GRAFT_MATERIAL"]) if os.environ.get("GRAFT_MATERIAL") else None
SHARES = 0.15
"""Share of the images for validation, and for the test."""
DRAWN = 20
"""Images per drawn class."""


@dataclass(frozen=True)
class Images:
    """A packed dataset with its class names and a description."""

    words: str
    pack: Pack
    classes: list[str]

    @classmethod
    def from_archive(cls, words: str, archive: Path) -> Images:
        """Pack an archive as the service does; the pack stays mapped after its file is deleted."""
        with TemporaryDirectory(prefix="graft-experiments-") as folder:
            pack, classes = pack_dataset(Path(folder), archive)
        return cls(f"{len(pack):,} {words}, {len(classes)} classes", pack, classes)


@dataclass(frozen=True)
class Split:
    """A random stratified split, 70 : 15 : 15, different for each seed."""

    train: Subset
    validation: Subset
    test: Subset

    @classmethod
    def from_seed(cls, labels: np.ndarray, seed: int) -> Split:
        """Split the images with this seed."""
        rest, test = train_test_split(np.arange(len(labels)), test_size=SHARES, stratify=labels, random_state=seed)
        share = SHARES / (1 - SHARES)
        train, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
        return cls(*(Subset(np.sort(part), labels[np.sort(part)]) for part in (train, validation, test)))

    def take_few(self, each: int, seed: int) -> Split:
        """Keep only `each` training images per class."""
        random = np.random.default_rng(seed)
        labels = self.train.labels
        chosen = [random.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
        places = np.sort(np.concatenate(chosen))
        return Split(Subset(self.train.images[places], labels[places]), self.validation, self.test)


@dataclass(frozen=True)
class Network:
    """A network that is cut, with its preprocessing."""

    cut_network: CutNetwork
    preprocessing: Preprocessing
    num_features: int


@dataclass(frozen=True)
class Material:
    """Datasets, a backbone, and settings that suit this machine."""

    images: Images
    other: Images
    """A dataset with other labels."""
    backbone: str
    backbones: Path
    small: int
    """Image side in pixels at which training the whole backbone takes reasonable time."""
    changes: tuple[str, ...]
    """Augmentations that keep these images' labels."""
    seeds: int
    """Number of seeds of a full run."""
    kept: Path
    """Folder of the feature cache."""

    def describe(self) -> str:
        """Describe the datasets and the backbone in words."""
        return f"{self.images.words}; backbone `{self.backbone}`; other labels: {self.other.words}"

    def split(self, seed: int) -> Split:
        """Split the images with this seed."""
        return Split.from_seed(self.images.pack.labels, seed)

    @cached_property
    def frozen(self) -> Network:
        """The whole backbone, frozen, at its own image size."""
        return self.load_network()

    def load_network(self, side: int | None = None, untrained: int | None = None) -> Network:
        """Load the backbone, frozen, for images of this side; or build an untrained one with this seed."""
        loaded = backbones.load(self.backbone, self.backbones)
        preprocessing = loaded.preprocessing.resize_to(side or loaded.preprocessing.side)
        network = loaded.network if untrained is None else _untrained(loaded, untrained)
        cut: Cut = All() if untrained is None else Nothing()
        identity = {"architecture": loaded.architecture, "model_args": loaded.model_args}
        feature_network = cut_before_classifier(network, preprocessing.input_size, identity)
        cut_network = cut_at(feature_network, cut)
        return Network(cut_network, preprocessing, feature_network.num_features)

    def source(
        self,
        augmentations: Sequence[ImageAugmentation] = (),
        network: Network | None = None,
        images: Images | None = None,
    ) -> FeatureSource:
        """Open the input of training: features through Graft's cache, or images where nothing is frozen."""
        seen, shown = network or self.frozen, images or self.images
        cache = FeatureCache(self.kept / "features")
        extractor = Extractor(seen.cut_network, seen.preprocessing, torch.device("cpu"), cache)
        extractor.choose_engine("eager", "exact", shown.pack, np.arange(len(shown.pack)))
        return extractor.open_source(shown.pack, augmentations)


@cache
def open_material(kept: Path = KEPT, folder: Path | None = GIVEN) -> Material:
    """Open the datasets and backbone in a folder such as GRAFT_MATERIAL, or those that everybody has."""
    kept.mkdir(parents=True, exist_ok=True)
    (kept / ".gitignore").write_text("*\n")  # the folder keeps itself out of the repository
    return _photographs(folder, kept) if folder else _digits(kept)


def _photographs(folder: Path, kept: Path) -> Material:
    datasets = folder / "datasets"
    return Material(
        Images.from_archive(
            "photographs of flowers (github:martinwestin/flower_classification)",
            datasets / "flowers5_128px" / "flowers5_128px.tar",
        ),
        Images.from_archive(
            "photographs of waste (github:garythung/trashnet)", datasets / "trashnet6" / "trashnet6.zip"
        ),
        "local/mobilenetv2_100",
        folder / "weights",
        small=64,
        changes=("crop", "horizontal_flip"),
        seeds=5,
        kept=kept,
    )


def _digits(kept: Path) -> Material:
    with TemporaryDirectory(prefix="graft-experiments-") as name:
        digits, drawn = Path(name) / "digits.tar", Path(name) / "drawn.tar"
        write_archive(digits)
        _draw(drawn)
        return Material(
            Images.from_archive("handwritten digits of scikit-learn", digits),
            Images.from_archive("drawn letters and shapes", drawn),
            "local/rendered_shapes",
            ROOT / "demo" / "backbones",
            small=32,
            changes=("crop",),
            seeds=3,
            kept=kept,
        )


def _draw(path: Path) -> None:
    """Write an archive of drawn images from the classes that the shipped backbone was pretrained on."""
    random = np.random.default_rng(2)
    with tarfile.open(path, "w") as archive:
        for label in range(len(DRAWINGS)):
            for number in range(DRAWN):
                file = BytesIO()
                Image.fromarray(render(label, random)).save(file, "PNG")
                entry = tarfile.TarInfo(f"{label:02}/{number:02}.png")
                entry.size = file.tell()
                file.seek(0)
                archive.addfile(entry, file)


def _untrained(loaded: Backbone, seed: int) -> TimmNetwork:
    """Build an untrained network of the same architecture, with timm's initialization."""
    torch.manual_seed(seed)
    network: TimmNetwork = timm.create_model(loaded.architecture, pretrained=False, **loaded.model_args)
    return network
