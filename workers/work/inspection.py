"""Backbones: inspection, supervised."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from service.backbones import repository
from service.tables import Backbone
from workers.child_process import Child
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models.backbones.backbone import BackboneSummary
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim


class InspectionOrder(BaseModel):
    """What the inspecting child is told."""

    name: str
    backbones: Path | None


class Listed(BaseModel):
    """One backbone that can be loaded; the columns of its row."""

    id: str
    source: str
    architecture: str
    parameters: int | None
    input_size: tuple[int, int, int]
    licence: str | None

    @classmethod
    def of(cls, listing: BackboneSummary) -> Listed:
        """The row of what a source lists."""
        return cls(
            id=listing.name,
            source=listing.source,
            architecture=listing.architecture,
            parameters=listing.parameters,
            input_size=listing.input_size,
            licence=listing.licence,
        )


class Inspected(BaseModel):
    """What the child has found, or why it could not."""

    listed: Listed | None = None
    inspection: dict[str, Any] | None = None
    error: dict[str, str] | None = None


class ListingOrder(BaseModel):
    """What the listing child is told."""

    backbones: Path | None


def list_backbones(database: Database, settings: Settings) -> None:
    """Have the table say what this worker can load."""
    with Child("workers.entrypoints.listing", ListingOrder(backbones=settings.backbones)) as child:
        lines = [line for batch in child.batches() for line in batch]
    with database.writing() as session:
        repository.replace(session, [Listed.model_validate_json(line).model_dump() for line in lines])


class BackboneAttempt(Attempt[Backbone]):
    """One attempt at the inspection of one backbone."""

    module = "workers.entrypoints.inspection"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Backbone]) -> None:
        self.settings, self.claim = settings, claim

    def begin(self, session: Session, row: Backbone) -> InspectionOrder:
        """The attempt begins."""
        return InspectionOrder(name=row.id, backbones=self.settings.backbones)

    def record(self, session: Session, row: Backbone, lines: list[bytes]) -> bool:
        """Write down what was found."""
        found = Inspected.model_validate_json(lines[-1])
        row.inspection, row.error = found.inspection, found.error
        if found.listed and row.architecture is None:
            for column, value in found.listed.model_dump().items():
                setattr(row, column, value)
        row.end(session, "failed" if found.error else "inspected")
        return True

    def failed(self, session: Session, row: Backbone, cause: str, message: str) -> None:
        """The last attempt died: most often the network is too large."""
        row.error = {"code": cause, "message": message}
        row.end(session, "failed")
