"""HTTP of the feature cache."""

from __future__ import annotations

from fastapi import APIRouter

from service.cache import repository
from service.cache.schemas import Cache
from service.dependencies import DatabaseDep

router = APIRouter(prefix="/v1/cache", tags=["cache"])


@router.get("")
def get_cache(database: DatabaseDep) -> Cache:
    """Get the size of the feature cache on each machine, and what it has saved."""
    with database.reading() as session:
        return Cache.from_rows(repository.find_all(session))


@router.delete("", status_code=202)
def empty_cache(database: DatabaseDep) -> Cache:
    """Empty the feature cache on every machine. Workers do it within seconds; running jobs continue."""
    with database.writing() as session:
        repository.request_emptying(session)
        return Cache.from_rows(repository.find_all(session))
