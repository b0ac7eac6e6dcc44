"""The request to import a backbone, from a worker to the child that does it. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.catalog.preprocessing import GivenPreprocessing


class ImportRequest(BaseModel):
    """An uploaded file, what its user says of it, and where the backbone is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    """The uploaded file: a network's file, or an archive of its folder."""
    folder: Path
    """An empty folder, in which the backbone's files are written."""
    name: str = ""
    """The file's name at the user's; for messages alone, the format is seen from the content."""
    format: str | None = None
    """Format that the user names; an error if the file has another."""
    architecture: str | None = None
    """Architecture of weights that do not say theirs: one of timm's, with or without its tag, or torchvision/NAME."""
    preprocessing: GivenPreprocessing | Literal["from_samples"] | None = None
    """What the user knows of the preprocessing; from_samples takes what fits the samples best."""
    labels: list[str] | None = None
    """Names of the classifier's classes, in its order."""
    samples: Path | None = None
    """A zip with images, in folders named as the expected class."""
