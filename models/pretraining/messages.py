"""Messages of a backbone's pretraining to its supervisor while it runs. Imports no torch: the supervisor reads them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from models.importers.events import ImportedSummary, WrittenFile
from models.messages import Failed, Noted, Progressed, ProgressSaved


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EpochPretrained(_Event):
    """An epoch is over: its mean loss, the learning rate of its last step, and the seconds of this attempt at it."""

    event: Literal["epoch_pretrained"] = "epoch_pretrained"
    epoch: int
    loss: float
    lr: float
    seconds: float


class BackbonePretrained(_Event):
    """The pretraining is over: the folder holds a backbone that loads."""

    event: Literal["backbone_pretrained"] = "backbone_pretrained"
    summary: ImportedSummary
    inspection: dict[str, Any]
    """Stages and cuts with their costs, as `models.networks.candidate_cuts.inspect` lists them."""
    files: dict[str, WrittenFile]
    images: int
    """Images that it was pretrained on."""
    losses: list[float]
    """Mean loss of each epoch."""
    from_digest: str
    """SHA-256, in hex, of the backbone that it started from, as it was loaded."""
    digest: str
    """The same of the new backbone."""
    seconds: float
    """Time that the pretraining took, in all its attempts."""


PretrainingEvent = Annotated[
    Progressed | Noted | ProgressSaved | EpochPretrained | BackbonePretrained | Failed, Field(discriminator="event")
]

PRETRAINING_EVENT: TypeAdapter[PretrainingEvent] = TypeAdapter(PretrainingEvent)
"""Parses a message from JSON."""
