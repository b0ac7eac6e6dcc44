"""Models as JSON."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from models.catalog.technique import StrictModel
from service import tables
from service.backbones.tables import CHECKPOINT
from service.pagination import Identified
from service.types import Text, Timestamp

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Shape of a name: it stands in addresses."""


def _check_name(name: str) -> str:
    if re.fullmatch(NAME, name) is None:
        raise ValueError("must be 1 to 100 letters, digits, dots, dashes and underscores, a letter or digit first")
    if name.startswith(CHECKPOINT):
        raise ValueError(f"must not begin with {CHECKPOINT}, as the ids of checkpoints do")
    return name


ModelName = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": f"^{NAME}$"})]
"""Name of a model."""


class ModelPut(StrictModel):
    """A request to make a name point at a checkpoint."""

    checkpoint: Text
    """Id of the checkpoint (ckpt_…)."""


class Publish(StrictModel):
    """The name that a job's checkpoint gets when the job succeeds."""

    name: ModelName
    when: Literal["always", "if_better"] = "always"
    """always; or if_better: if it is more accurate (of several labels: has the greater mean average precision) than the
    checkpoint that the name points at, on the same test images. Where these are others, the name stays where it is."""


def _expand(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


PublishField = Annotated[Publish, BeforeValidator(_expand, json_schema_input_type=Publish | ModelName)]
"""A name, or a name with a condition."""


class Model(Identified):
    """A name that points at a checkpoint."""

    name: str
    checkpoint: str
    job: str
    """The job whose result the checkpoint is."""
    classes: list[str]
    metrics: dict[str, Any]
    created_at: Timestamp
    moved_at: Timestamp
    """When it was made to point at this checkpoint."""
    moved_by: str | None
    """Id of the API key whose request moved it, or made the job that did; null where none was asked for."""

    @classmethod
    def from_rows(cls, row: tables.Model, checkpoint: tables.Checkpoint, move: tables.ModelMove) -> Model:
        """Build the JSON of a row, its checkpoint and its last move."""
        return cls(
            id=row.name,
            name=row.name,
            checkpoint=row.checkpoint_id,
            job=checkpoint.job_id,
            classes=checkpoint.classes,
            metrics=checkpoint.metrics,
            created_at=row.created_at,
            moved_at=move.created_at,
            moved_by=move.created_by,
        )


class Move(Identified):
    """An entry of a model's history."""

    seq: int
    checkpoint: str | None
    """Id of the checkpoint, which may have been deleted since; null: the name was deleted."""
    job: str | None
    """The job that published it; null for a request."""
    created_by: str | None
    """Id of the API key whose request moved it, or made the job that did; null where none was asked for."""
    created_at: Timestamp
