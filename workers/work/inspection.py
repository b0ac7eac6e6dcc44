"""Backbones: their listing, and attempts at inspection."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from service.tables import Backbone
from workers import scratch
from workers.child_process import Child
from workers.memory_limit import choose_limit
from workers.work import backbone_files
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim


class InspectionOrder(BaseModel):
    """Input of the inspecting child."""

    name: str
    backbones: Path | None
    folder: Path | None
    """The folder with the file of a checkpoint."""


class ListedBackbone(BaseModel):
    """A backbone that this worker can load, as columns of its row; nulls where its files cannot be read."""

    id: str
    source: str
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    """Channels, height and width; a list, as JSON columns give back, so that the two compare equal."""
    licence: str | None
    accuracy: float | None
    multiply_adds: int | None


class Inspected(BaseModel):
    """The backbone's cuts and their costs, or the error that prevented the inspection."""

    listed: ListedBackbone | None = None
    inspection: dict[str, Any] | None = None
    error: dict[str, str] | None = None


class ListingOrder(BaseModel):
    """Input of the listing child."""

    backbones: Path | None


def list_backbones(settings: Settings) -> list[ListedBackbone]:
    """List the backbones that this worker can load. Raises ChildDied."""
    order, limit = ListingOrder(backbones=settings.backbones), choose_limit(settings)
    with Child("workers.entrypoints.listing", order, settings.stall_seconds, limit) as child:
        lines = [line for batch in child.read_batches() for line in batch]
    return [ListedBackbone.model_validate_json(line) for line in lines]


class BackboneAttempt(Attempt[Backbone]):
    """One attempt at the inspection of one backbone."""

    module = "workers.entrypoints.inspection"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Backbone]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self._scratch = scratch.choose_folder(settings.scratch, claim)
        self._folder: Path | None = None

    def fetch_inputs(self) -> None:
        """Bring the file of a checkpoint to this machine. Raises OSError."""
        self._folder = backbone_files.fetch(self.database, self.settings, self.claim.id, self._scratch)

    def start(self, session: Session, row: Backbone) -> InspectionOrder:
        """Order the inspection of this backbone."""
        return InspectionOrder(name=row.id, backbones=self.settings.backbones, folder=self._folder)

    def record(self, session: Session, row: Backbone, lines: list[bytes]) -> bool:
        """Write the inspection, or its error, to the backbone."""
        found = Inspected.model_validate_json(lines[-1])
        row.inspection, row.error = found.inspection, found.error
        if found.listed and row.architecture is None:
            for column, value in found.listed.model_dump(exclude={"source"}).items():
                setattr(row, column, value)
        row.end(session, "failed" if found.error else "inspected")
        return True

    def fail(self, session: Session, row: Backbone, cause: str, message: str) -> None:
        """End the inspection as failed: most often the network is too large for this machine."""
        row.error = {"code": cause, "message": message}
        row.end(session, "failed")

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)
