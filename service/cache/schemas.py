"""Feature caches as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from service import tables
from service.types import DescribedModel, Timestamp


class Figures(DescribedModel):
    """Size, budget and savings of one feature cache, or of all."""

    model_config = ConfigDict(from_attributes=True)

    bytes: int
    budget_bytes: int
    hits: int
    """Features that jobs have read instead of computing them."""
    misses: int
    """Features that jobs have computed."""
    saved_seconds: float
    """Seconds that computing the features that jobs have read had once taken."""


class MachineCache(Figures):
    """The feature cache of one machine, as its workers have reported it."""

    host: str
    folder: str
    emptying: bool
    reported_at: Timestamp


class Cache(Figures):
    """Sum of all feature caches, and each of them."""

    emptying: bool
    caches: list[MachineCache]

    @classmethod
    def from_rows(cls, rows: Sequence[tables.Cache]) -> Cache:
        """Sum up the caches of all machines."""
        caches = [MachineCache.model_validate(row) for row in rows]
        sums = {name: sum(getattr(cache, name) for cache in caches) for name in Figures.model_fields}
        return cls(emptying=any(cache.emptying for cache in caches), caches=caches, **sums)
