"""HTTP of backbones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Response
from pydantic import BeforeValidator

from service.backbones import repository
from service.backbones.repository import Limits
from service.backbones.schemas import Backbone, InspectedBackbone
from service.dependencies import DatabaseDep, QueueDep
from service.pagination import After, Page, PageSize, shaped_like
from service.query_parameters import none_if_empty
from service.statuses import BackboneStatus

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.get("")
def list_backbones(
    database: DatabaseDep,
    limit: PageSize = 20,
    after: Annotated[After, shaped_like("[a-z]+/.+|bb_.+")] = None,
    q: Annotated[str | None, Query(max_length=255, description="Part of the name.")] = None,
    source: Annotated[str | None, BeforeValidator(none_if_empty), Query(description="Such as timm or upload.")] = None,
    status: Annotated[BackboneStatus | None, BeforeValidator(none_if_empty), Query()] = None,
    max_params: Annotated[int | None, Query(ge=0, lt=2**63, description="Largest number of parameters.")] = None,
    max_multiply_adds: Annotated[
        int | None, Query(ge=0, lt=2**63, description="Largest number of multiply-adds for one image.")
    ] = None,
    min_accuracy: Annotated[float | None, Query(ge=0, le=1, description="Least top-1 accuracy on ImageNet.")] = None,
    licence: Annotated[str | None, BeforeValidator(none_if_empty), Query(description="Such as apache-2.0.")] = None,
) -> Page[Backbone]:
    """List backbones by id; uploaded ones that are not ready only by their status or source. Downloads nothing.

    Those whose figure is not known match no limit of it.
    """
    limits = Limits(max_params, max_multiply_adds, min_accuracy, licence)
    with database.reading() as session:
        rows = repository.find_page(
            session, limit=limit, after=after, contains=q, source=source, limits=limits, status=status
        )
    return Page.from_items([Backbone.model_validate(row) for row in rows], limit)


@router.get("/{name:path}")
def get_backbone(name: str, database: DatabaseDep) -> InspectedBackbone:
    """Get a backbone, with its stages and cuts once a worker has inspected it."""
    with database.reading() as session:
        return InspectedBackbone.from_row(repository.get(session, name))


@router.post("/{name:path}/inspect", status_code=202)
def inspect_backbone(
    name: str, response: Response, tasks: BackgroundTasks, database: DatabaseDep, queue: QueueDep
) -> InspectedBackbone:
    """Have a worker find a backbone's stages and cuts, unless they are known. Poll the backbone until it is inspected.

    Repeated, it changes nothing; an inspection that failed is tried again after a minute.
    """
    with database.writing() as session:
        backbone = InspectedBackbone.from_row(repository.request_inspection(session, name))
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/backbones/{name}"
    return backbone
