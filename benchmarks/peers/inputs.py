"""Inputs of all peers: the same images, split and weights, in forms that every library reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.floor import pack_dataset
from graft.upload_source import list_source
from models.backbones.local import WEIGHTS
from models.backbones.structure import CONFIG
from models.catalog.recipe import Recipe
from models.datasets.splits import split

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.datasets.splits import Split

PARTS = {"train": "train", "validation": "val", "test": "test"}
"""Folder name of each part of the split."""


@dataclass(frozen=True)
class Inputs:
    """Images, split and weights of a job."""

    dataset: Path
    """The dataset's folder or archive."""
    images: Path
    """The images that Graft accepts, in Graft's split: part/class/image."""
    backbone: Path
    """A folder with timm's config.json and model.safetensors."""
    hub_cache: Path
    """The backbone in the layout of the Hub client's cache: hf-hub:local/NAME."""
    counts: str
    """Number of images of each part, in words."""

    @classmethod
    def prepare(cls, dataset: Path, backbone: Path, folder: Path) -> Self:
        """Write all inputs to the new `folder`."""
        folder.mkdir()
        counts = export(dataset, folder)
        link_hub_cache(backbone, folder / "hub")
        words = ", ".join(f"{count:,} {part}" for part, count in counts.items())
        return cls(dataset, folder / "images", backbone.resolve(), folder / "hub", words)


def export(dataset: Path, folder: Path) -> dict[str, int]:
    """Write the accepted images, bytes unchanged, to `folder`/images; return the number of images of each part."""
    archive = dataset
    if dataset.is_dir():
        archive = folder / "dataset.tar"
        with archive.open("wb") as file:
            file.writelines(list_source(dataset).read_blocks())
    pack, classes = pack_dataset(folder, archive)
    if pack.is_multi_label:
        raise SystemExit("Peers are measured on images of one class each; this dataset has some of several.")
    recipe = Recipe()
    parts = split(pack.lossless_digests, pack.labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
    return write_images(pack, classes, parts, folder / "images")


def write_images(pack: Pack, classes: list[str], parts: Split, folder: Path) -> dict[str, int]:
    """Write the images of a split to `folder`: part/class/image; return the number of images of each part."""
    counts = {}
    for part, called in PARTS.items():
        chosen = getattr(parts, part).tolist()
        counts[part] = len(chosen)
        for image in chosen:
            _write(pack, image, folder / called / classes[pack.labels[image]])
    return counts


def _write(pack: Pack, image: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{image:06}{Path(pack.names[image]).suffix.lower()}"
    (folder / name).write_bytes(pack.read_file(image))


def link_hub_cache(backbone: Path, cache: Path) -> None:
    """Link the backbone's files into the cache of the Hub's client."""
    repository = cache / f"models--local--{backbone.name}"
    snapshot = repository / "snapshots" / "here"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    for name in (CONFIG, WEIGHTS):
        (snapshot / name).symlink_to((backbone / name).resolve())
