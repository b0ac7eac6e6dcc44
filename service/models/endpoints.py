"""HTTP of models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from service.dependencies import CreatedByDep, DatabaseDep
from service.json_body import JsonRoute
from service.models import repository
from service.models.schemas import NAME, Model, ModelName, ModelPut, Move
from service.pagination import After, Page, PageSize, parse_position, shaped_like

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)


@router.get("")
def list_models(
    database: DatabaseDep, limit: PageSize = 20, after: Annotated[After, shaped_like(NAME)] = None
) -> Page[Model]:
    """List models by name: names, and the checkpoints that they point at."""
    with database.reading() as session:
        rows = repository.find_page(session, limit=limit, after=after)
    return Page.from_items([Model.from_rows(*row) for row in rows], limit)


@router.get("/{name}")
def get_model(name: str, database: DatabaseDep) -> Model:
    """Get a model: the checkpoint that a name points at."""
    with database.reading() as session:
        return Model.from_rows(*repository.get(session, name))


@router.put("/{name}")
def put_model(name: ModelName, body: ModelPut, database: DatabaseDep, created_by: CreatedByDep) -> Model:
    """Make a name point at a checkpoint, at once for all who use it; a new name is made."""
    with database.writing() as session:
        repository.move(session, name, body.checkpoint, created_by=created_by)
        return Model.from_rows(*repository.get(session, name))


@router.delete("/{name}", status_code=204)
def delete_model(name: str, database: DatabaseDep, created_by: CreatedByDep) -> None:
    """Delete a name; its checkpoint and its history stay."""
    with database.writing() as session:
        repository.delete(session, name, created_by=created_by)


@router.get("/{name}/history")
def list_moves(name: str, database: DatabaseDep, limit: PageSize = 100, after: After = None) -> Page[Move]:
    """List what a name has pointed at, oldest first: which checkpoint, when, and by whose key or job."""
    start = parse_position(name, after)
    with database.reading() as session:
        rows = repository.find_moves(session, name, after=start, limit=limit + 1)
    return Page.from_items([Move.model_validate(row) for row in rows], limit)
