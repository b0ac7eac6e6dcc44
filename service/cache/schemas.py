"""Feature caches as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from service.types import Timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service import tables


class Figures(BaseModel):
    """What is kept, what it may take, and what it was good for."""

    bytes: int
    budget_bytes: int
    hits: int
    """Features that jobs have read instead of computing them."""
    misses: int
    """Features that they have computed."""
    saved_seconds: float
    """What the features that were read had once cost to compute."""


class MachineCache(Figures):
    """The feature cache of one machine, as its workers saw it last."""

    host: str
    folder: str
    emptying: bool
    reported_at: Timestamp

    @classmethod
    def of(cls, row: tables.Cache) -> MachineCache:
        """The cache of a row."""
        figures = {name: getattr(row, name) for name in Figures.model_fields}
        return cls(host=row.host, folder=row.folder, emptying=row.is_emptying, reported_at=row.reported_at, **figures)


class Cache(Figures):
    """All feature caches together, and each."""

    emptying: bool
    caches: list[MachineCache]

    @classmethod
    def of(cls, rows: Sequence[tables.Cache]) -> Cache:
        """The caches of all rows."""
        caches = [MachineCache.of(row) for row in rows]
        sums = {name: sum(getattr(cache, name) for cache in caches) for name in Figures.model_fields}
        return cls(emptying=any(cache.emptying for cache in caches), caches=caches, **sums)
