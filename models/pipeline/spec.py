"""An assignment: what a fine-tuning is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from models.catalog.recipe import Recipe
    from models.datasets.pack import Pack
    from models.features.cache import FeatureCache
    from models.pipeline.training_state import Pace


@dataclass(frozen=True)
class Assignment:
    """What to fine-tune, on what, how, and where."""

    job: str
    pack: Pack
    classes: list[str]
    dataset_digest: str
    backbone: str
    backbones: Path | None
    """The directory of local backbones."""
    recipe: Recipe
    device: torch.device
    cache: FeatureCache
    checkpoint: Path
    """The file to write; snapshots are written beside it."""
    pace: Pace | None = None
    """When to secure what was done, if at all."""
    snapshot: Path | None = None
    """What to go on from."""
    other: Pack | None = None
    """The images of the dataset that pretraining names."""
    other_classes: Sequence[str] = ()
    is_stopped: Callable[[], bool] | None = None
    """Whether somebody has asked for what is best so far."""
