"""Events of an import to its supervisor. Imports no torch: the supervisor reads them too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from models.importers.report import ImportReport

Stage = Literal["recognizing", "reading", "comparing", "checking", "writing"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Progressed(_Event):
    """A stage of the import has begun."""

    event: Literal["progressed"] = "progressed"
    stage: Stage
    percent: float
    message: str


class ImportedSummary(BaseModel):
    """An imported backbone as lists show it."""

    architecture: str
    parameters: int
    input_size: tuple[int, int, int]
    licence: str | None
    multiply_adds: int | None


class WrittenFile(BaseModel):
    """A file in the folder of an imported backbone."""

    bytes: int
    digest: str
    """SHA-256, in hex, of its content."""


class Imported(_Event):
    """The import has ended: the folder holds a backbone that loads."""

    event: Literal["imported"] = "imported"
    summary: ImportedSummary
    report: ImportReport
    inspection: dict[str, Any]
    """Stages and cuts with their costs, as `models.networks.candidate_cuts.inspect` lists them."""
    files: dict[str, WrittenFile]


class Rejected(_Event):
    """The import has ended without a backbone, and another attempt at the same request would too."""

    event: Literal["rejected"] = "rejected"
    code: str
    message: str
    report: ImportReport
    """What was found until then; with code `preprocessing_needed`, `report.preprocessing.proposal` too."""


ImportEvent = Annotated[Progressed | Imported | Rejected, Field(discriminator="event")]

IMPORT_EVENT: TypeAdapter[ImportEvent] = TypeAdapter(ImportEvent)
"""Parses an event from JSON."""
