"""HTTP of workers."""

from __future__ import annotations

from fastapi import APIRouter

from service.backbones import listings
from service.backbones.schemas import Worker
from service.dependencies import DatabaseDep
from service.pagination import After, Page, PageSize

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("")
def list_workers(database: DatabaseDep, limit: PageSize = 20, after: After = None) -> Page[Worker]:
    """List the workers that have listed their backbones: whether each lives, and the job that it runs."""
    with database.reading() as session:
        rows = listings.find_workers(session, limit, after)
        clock = listings.read_clock(session)
    found = [
        Worker(
            id=row.id,
            host=row.id.split(".")[0],
            is_alive=row.alive_until >= clock,
            alive_until=row.alive_until,
            backbones=backbones,
            job=job,
        )
        for row, backbones, job in rows
    ]
    return Page.from_items(found, limit)
