"""The common ground: the same images, split and weights for all, in forms that every peer reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.floor import packed
from graft import tar_stream
from models.backbones.local import CONFIG, WEIGHTS
from models.catalog.recipe import Recipe
from models.datasets.splits import split

if TYPE_CHECKING:
    from models.datasets.pack import Pack

PARTS = {"train": "train", "validation": "val", "test": "test"}
"""What the folder of each part is called, as peers' users do."""


@dataclass(frozen=True)
class Ground:
    """What a job starts from."""

    dataset: Path
    """The folder or archive itself."""
    images: Path
    """Those that Graft accepts, split as it splits: part/class/image."""
    backbone: Path
    """A folder with timm's config.json and model.safetensors."""
    hub_cache: Path
    """The same as the Hub's client would have kept it: hf-hub:local/NAME."""
    counts: str
    """Images of each part, in words."""

    @classmethod
    def prepare(cls, dataset: Path, backbone: Path, folder: Path) -> Self:
        """Lay all of it out in `folder`, which is made."""
        folder.mkdir()
        counts = export(dataset, folder)
        keep_as_hub(backbone, folder / "hub")
        said = ", ".join(f"{count:,} {part}" for part, count in counts.items())
        return cls(dataset, folder / "images", backbone.resolve(), folder / "hub", said)


def export(dataset: Path, folder: Path) -> dict[str, int]:
    """Write the accepted images, their bytes unchanged, to `folder`/images; gives how many each part has."""
    archive = dataset
    if dataset.is_dir():
        archive = folder / "dataset.tar"
        with archive.open("wb") as file:
            file.writelines(tar_stream.pack_folder(dataset))
    pack, classes = packed(folder, archive)
    if pack.is_multi_label:
        raise SystemExit("Peers are measured on images of one class each; this dataset has some of several.")
    recipe = Recipe()
    parts = split(pack.digests.tolist(), pack.labels, pack.splits, recipe.validation_fraction, recipe.test_fraction)
    counts = {}
    for part, called in PARTS.items():
        chosen = getattr(parts, part).tolist()
        counts[part] = len(chosen)
        for image in chosen:
            _write(pack, image, folder / "images" / called / classes[pack.labels[image]])
    return counts


def _write(pack: Pack, image: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{image:06}{Path(pack.names[image]).suffix.lower()}"
    (folder / name).write_bytes(pack.read_file(image))


def keep_as_hub(backbone: Path, cache: Path) -> None:
    """Link the backbone's files where the Hub's client looks for what it has downloaded."""
    repository = cache / f"models--local--{backbone.name}"
    snapshot = repository / "snapshots" / "here"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    for name in (CONFIG, WEIGHTS):
        (snapshot / name).symlink_to((backbone / name).resolve())
