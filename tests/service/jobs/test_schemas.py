"""Epochs and trials have one shape in what a child sends, in the database and in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models import messages
from service import tables
from service.jobs import schemas

if TYPE_CHECKING:
    from pydantic import BaseModel


@pytest.mark.parametrize(
    ("message", "table", "schema"),
    [(messages.EpochEnded, tables.Epoch, schemas.Epoch), (messages.Trial, tables.Trial, schemas.Trial)],
)
def test_message_row_and_json_have_the_same_fields(
    message: type[BaseModel], table: type[tables.Epoch | tables.Trial], schema: type[BaseModel]
) -> None:
    fields = {name: field.annotation for name, field in message.model_fields.items() if name != "event"}
    assert {name: field.annotation for name, field in schema.model_fields.items() if name != "id"} == fields
    assert {column.name for column in table.__table__.columns} - {"job_id", "rank"} == set(fields)
