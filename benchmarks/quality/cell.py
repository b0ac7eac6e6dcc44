"""Cell of the comparison: images with a split, and a backbone; what each method gets."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.material import BACKBONES
from models import backbones
from models.catalog.preprocessing import GivenPreprocessing
from models.importers.events import Imported
from models.importers.request import ImportRequest

if TYPE_CHECKING:
    from benchmarks.quality.splits import SplitSet
    from models.backbones.backbone import Backbone

FILES = {"squeezenet": ("other-framework/keras_squeezenet_v1.1_notop.h5", "SqueezeNet 1.1")}
"""Backbones that are imported: a file of the material, and the architecture that it does not say."""
PREPROCESSING: dict[str, Any] = {"mean": (0.485, 0.458, 0.4076), "std": (1 / 255,) * 3, "channel_order": "bgr"}
"""What these files do not say: means of ImageNet's training images, of values that are not divided, blue first."""
NAMES = ("mobilenetv2_100", "vit_tiny_patch16_224", *FILES)
"""Backbones of the battery."""


@dataclass(frozen=True)
class BackboneFiles:
    """Name and folder of a backbone."""

    name: str
    """As jobs name it: local/NAME, or bb_NAME of an imported one."""
    folder: Path
    """The folder of its files."""

    @property
    def is_imported(self) -> bool:
        """True where Graft imported it from a file."""
        return self.name.startswith("bb_")

    def load(self, side: int) -> Backbone:
        """Load the network with its weights, for images of this longer side."""
        return backbones.load(self.name, self.folder.parent, side, self.folder)


@dataclass(frozen=True)
class Cell:
    """A split set, a backbone, and the terms of the comparison."""

    images: SplitSet
    backbone: BackboneFiles
    seed: int
    image_size: int
    budget: float | None
    can_flip: bool
    """True where a mirrored image is of the same class."""


def find_backbone(name: str, imports: Path, side: int) -> BackboneFiles:
    """Find a backbone; one of a foreign format is imported into `imports`, once for each size. Raises SystemExit."""
    material = Path(os.environ.get("GRAFT_MATERIAL") or "missing")
    if name in FILES:
        folder = imports / f"bb_{name}_{side}"
        if not (folder / "config.json").is_file():
            _import(material / FILES[name][0], FILES[name][1], side, folder)
        return BackboneFiles(folder.name, folder)
    for directory in (BACKBONES, material / "weights"):
        if (directory / name / "config.json").is_file():
            return BackboneFiles(f"local/{name}", directory / name)
    raise SystemExit(f"{name} is neither in GRAFT_BACKBONES nor in weights of GRAFT_MATERIAL; leave it out.")


def _import(file: Path, architecture: str, side: int, folder: Path) -> None:
    from models.importers.run import import_backbone  # its readers' libraries take seconds to load

    if not file.is_file():
        raise SystemExit(f"{file.name} is not in GRAFT_MATERIAL; leave its backbone out.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    preprocessing = GivenPreprocessing(input_size=(3, side, side), **PREPROCESSING)
    request = ImportRequest(
        file=file, folder=folder, name=file.name, architecture=architecture, preprocessing=preprocessing
    )
    *_, ended = import_backbone(request, lambda: None)
    if not isinstance(ended, Imported):
        shutil.rmtree(folder)
        raise SystemExit(f"The import of {file.name} failed: {json.dumps(ended.model_dump(mode='json'))[:500]}")
