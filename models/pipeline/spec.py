"""Training spec: the inputs of one fine-tuning, as JSON that a supervisor sends to its child process."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.catalog.backbone_pretraining import BackboneMethod
from models.catalog.recipe import Recipe


def name_statistics(checkpoint: Path) -> Path:
    """Name the file of a checkpoint's prediction statistics, beside it."""
    return checkpoint.with_suffix(".statistics")


def name_predictions(checkpoint: Path) -> Path:
    """Name the file of a checkpoint's predictions for single images, beside it."""
    return checkpoint.with_suffix(".predictions")


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(_Spec):
    """A validated dataset."""

    pack: str
    """Name of its pack of images in the storage."""
    index: str
    """Name of the pack's index in the storage."""
    classes: list[str]
    digest: str
    """SHA-256, in hex."""


class BackboneSpec(_Spec):
    """A backbone, and where it is loaded from."""

    name: str
    folder: Path | None = None
    """The folder, of this attempt alone, with the files of an uploaded backbone or of a checkpoint."""
    commit: str | None = None
    """Commit of the Hub's repository from which an earlier attempt loaded it; this one does too."""


class TrainingSpec(_Spec):
    """One fine-tuning: dataset, backbone, recipe, and where its files are."""

    job: str
    storage: str
    """URL of the storage that holds the datasets."""
    dataset: DatasetSpec
    other_dataset: DatasetSpec | None = None
    """The dataset that the recipe's pretraining names."""
    backbone: BackboneSpec
    """The backbone; of several, the best so far."""
    backbones: tuple[BackboneSpec, ...] = ()
    """Those that a ladder tries, where there are several."""
    local_backbones: Path | None
    """The directory of local backbones."""
    teacher_folder: Path | None = None
    """The folder, of this attempt alone, with the file of the checkpoint that the recipe distils."""
    recipe: Recipe
    device: str
    """cpu, cuda, mps or auto."""
    cache: Path
    """The folder of the feature cache."""
    cache_bytes: int
    checkpoint: Path
    """The file to write, in a folder of this attempt alone; snapshots are written beside it."""
    snapshot: Path | None = None
    """The snapshot to resume from."""
    snapshot_seconds: float | None = None
    """Seconds between two snapshots, at most; None: none are written."""


class PretrainingSpec(_Spec):
    """The pretraining of one backbone: images, the backbone to start from, method, and where its files are."""

    storage: str
    """URL of the storage that holds the datasets."""
    dataset: DatasetSpec
    backbone: BackboneSpec
    """The backbone to start from."""
    local_backbones: Path | None
    """The directory of local backbones."""
    method: BackboneMethod
    image_size: int | None = None
    """Longer side of the images, in pixels; None: the backbone's own."""
    seed: int = 0
    device: str
    """cpu, cuda, mps or auto."""
    folder: Path
    """An empty folder, in which the new backbone's files are written; snapshots are written beside it."""
    snapshot: Path | None = None
    """The snapshot to resume from."""
    snapshot_seconds: float | None = None
    """Seconds between two snapshots, at most; None: none are written."""
