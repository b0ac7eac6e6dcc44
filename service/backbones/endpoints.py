"""HTTP of backbones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query

from service.backbones import repository
from service.backbones.schemas import Backbone, InspectedBackbone
from service.dependencies import DatabaseDep, QueueDep
from service.pagination import After, Page, PageSize
from service.statuses import BackboneStatus

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.get("")
def list_backbones(
    database: DatabaseDep,
    limit: PageSize = 20,
    after: After = None,
    q: Annotated[str | None, Query(description="Part of the name.")] = None,
    source: Annotated[str | None, Query(description="timm, local or hf.")] = None,
    max_params: Annotated[int | None, Query(ge=0, lt=2**63, description="Largest number of parameters.")] = None,
) -> Page[Backbone]:
    """List backbones by name. Downloads nothing."""
    with database.reading() as session:
        rows = repository.find_page(
            session, limit=limit, after=after, contains=q, source=source, max_parameters=max_params
        )
    return Page.from_items([Backbone.model_validate(row) for row in rows], limit)


@router.get("/{name:path}")
def get_backbone(name: str, tasks: BackgroundTasks, database: DatabaseDep, queue: QueueDep) -> InspectedBackbone:
    """Get a backbone. A worker finds its stages and cuts on first demand: poll until it is inspected."""
    with database.reading() as session:
        row = repository.get(session, name)
    if row is None or row.status in {BackboneStatus.LISTED, BackboneStatus.FAILED}:
        with database.writing() as session:
            row = repository.request_inspection(session, name)
        tasks.add_task(queue.wake)
    return InspectedBackbone.model_validate(row)
