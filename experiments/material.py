"""What the experiments run on: images with labels, a backbone, and its features of them, computed once and kept."""

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

from benchmarks.floor import packed
from demo.digits import write_archive
from demo.rendering import DRAWINGS, render
from models import backbones
from models.catalog.cuts import All, Nothing
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.networks import surgery
from models.networks.cut_network import cut_at
from models.training.run import Subset

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
"""Features are kept here from run to run."""
GIVEN = Path(os.environ["GRAFT_MATERIAL"]) if os.environ.get("GRAFT_MATERIAL") else None
SHARES = 0.15
"""Of the images, to validate on; and as many to test on."""
DRAWN = 20
"""Images of each drawn class."""


@dataclass(frozen=True)
class Images:
    """A dataset."""

    words: str
    pack: Pack
    classes: list[str]

    @classmethod
    def of(cls, words: str, archive: Path) -> Images:
        """Those of an archive, packed as the service packs them; the pack stays mapped when its file is gone."""
        with TemporaryDirectory(prefix="graft-experiments-") as folder:
            pack, classes = packed(Path(folder), archive)
        return cls(f"{len(pack):,} {words}, {len(classes)} classes", pack, classes)


@dataclass(frozen=True)
class Parts:
    """A random stratified split, 70 : 15 : 15, another for each seed."""

    train: Subset
    validation: Subset
    test: Subset

    @classmethod
    def of(cls, labels: np.ndarray, seed: int) -> Parts:
        """The split of this seed."""
        rest, test = train_test_split(np.arange(len(labels)), test_size=SHARES, stratify=labels, random_state=seed)
        share = SHARES / (1 - SHARES)
        train, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
        return cls(*(Subset(np.sort(part), labels[np.sort(part)]) for part in (train, validation, test)))

    def few(self, each: int, seed: int) -> Parts:
        """The same with so many images a class to train on."""
        random = np.random.default_rng(seed)
        labels = self.train.labels
        chosen = [random.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
        places = np.sort(np.concatenate(chosen))
        return Parts(Subset(self.train.images[places], labels[places]), self.validation, self.test)


@dataclass(frozen=True)
class Network:
    """A network parted at a cut, and how it wants its images."""

    cut_network: CutNetwork
    preprocessing: Preprocessing
    num_features: int


@dataclass(frozen=True)
class Material:
    """Images, and the backbone that looks at them."""

    images: Images
    other: Images
    """A dataset with other labels."""
    backbone: str
    backbones: Path
    small: int
    """A side in pixels at which this machine can train the whole backbone in reasonable time."""
    changes: tuple[str, ...]
    """Augmentations that are true of the images."""
    seeds: int
    """How many there is time for."""
    kept: Path
    """The folder of the feature cache."""

    def about(self) -> str:
        """What it is, in words."""
        return f"{self.images.words}; backbone `{self.backbone}`; other labels: {self.other.words}"

    def parts(self, seed: int) -> Parts:
        """The split of this seed."""
        return Parts.of(self.images.pack.labels, seed)

    @cached_property
    def frozen(self) -> Network:
        """The backbone, all of it frozen, at its own size."""
        return self.network()

    def network(self, side: int | None = None, untrained: int | None = None) -> Network:
        """The backbone for images of this side, frozen; or one that has learned nothing, all of it to be trained.

        `untrained` is the seed of its weights.
        """
        loaded = backbones.load(self.backbone, self.backbones)
        preprocessing = loaded.preprocessing.resize_to(side or loaded.preprocessing.side)
        network = loaded.network if untrained is None else _untrained(loaded, untrained)
        cut: Cut = All() if untrained is None else Nothing()
        identity = {"architecture": loaded.architecture, "model_args": loaded.model_args}
        feature_network = surgery.cut_before_classifier(network, preprocessing.input_size, identity)
        cut_network = cut_at(feature_network, cut)
        return Network(cut_network, preprocessing, feature_network.num_features)

    def source(
        self,
        augmentations: Sequence[ImageAugmentation] = (),
        network: Network | None = None,
        images: Images | None = None,
    ) -> FeatureSource:
        """What training reads: features through the project's own cache, or images where nothing is frozen."""
        seen, shown = network or self.frozen, images or self.images
        cache = FeatureCache(self.kept / "features")
        extractor = Extractor(seen.cut_network, seen.preprocessing, torch.device("cpu"), cache)
        extractor.choose_engine("eager", "exact", shown.pack, np.arange(len(shown.pack)))
        return extractor.features(shown.pack, augmentations)


@cache
def opened(kept: Path = KEPT, folder: Path | None = GIVEN) -> Material:
    """The material of a folder such as GRAFT_MATERIAL names, or where there is none what everybody has."""
    kept.mkdir(parents=True, exist_ok=True)
    (kept / ".gitignore").write_text("*\n")  # the folder keeps itself out of the repository
    return _photographs(folder, kept) if folder else _digits(kept)


def _photographs(folder: Path, kept: Path) -> Material:
    datasets = folder / "datasets"
    return Material(
        Images.of(
            "photographs of flowers (github:martinwestin/flower_classification)",
            datasets / "flowers5_128px" / "flowers5_128px.tar",
        ),
        Images.of("photographs of waste (github:garythung/trashnet)", datasets / "trashnet6" / "trashnet6.zip"),
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
            Images.of("handwritten digits of scikit-learn", digits),
            Images.of("drawn letters and shapes", drawn),
            "local/rendered_shapes",
            ROOT / "demo" / "backbones",
            small=32,
            changes=("crop",),
            seeds=3,
            kept=kept,
        )


def _draw(path: Path) -> None:
    """Write an archive of the images that the shipped backbone was pretrained on, others of the same kinds."""
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
    """A network of the same architecture as timm initializes it."""
    torch.manual_seed(seed)
    network: TimmNetwork = timm.create_model(loaded.architecture, pretrained=False, **loaded.model_args)
    return network
