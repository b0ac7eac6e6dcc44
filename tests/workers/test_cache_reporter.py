"""What workers report of the feature cache, and how they empty it, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import text

from models.features.cache import FeatureCache
from models.features.store import FeatureStore
from service.cache import repository
from service.settings import Settings
from workers import cache_reporter
from workers.cache_reporter import CacheKeeper

if TYPE_CHECKING:
    from service.database import Database
    from service.tables import Cache

ROW = 64 * 2 + 44
"""Bytes of a row and its record."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A machine's."""
    return Settings(cache_dir=tmp_path / "cache", cache_bytes=5 << 20)


def fill(settings: Settings, rows: int) -> FeatureStore:
    space = FeatureStore(FeatureCache(settings.cache), {"trunk": "t"}, (64,), np.dtype(np.float16))
    with space.computing():
        space.append([bytes([number]) * 32 for number in range(rows)], 0, np.ones((rows, 64), np.float32), 0.0)
    return space


def reported(database: Database) -> list[Cache]:
    with database.reading() as session:
        return repository.find_all(session)


def test_what_is_there_is_reported_once_for_all_workers_of_a_machine(database: Database, settings: Settings) -> None:
    workers = [CacheKeeper(database, settings) for _ in range(2)]
    for worker in workers:
        worker.look()
    fill(settings, 3)
    for worker in workers:
        worker.look()
    (said,) = reported(database)
    assert (said.bytes, said.budget_bytes, said.folder) == (3 * ROW, 5 << 20, str(settings.cache))


def test_nothing_is_written_while_nothing_changes(database: Database, settings: Settings) -> None:
    worker = CacheKeeper(database, settings)
    worker.look()
    with database.writing() as session:
        session.execute(text("UPDATE caches SET bytes = 77"))
    worker.look()
    assert reported(database)[0].bytes == 77


def test_it_is_emptied_when_somebody_asks_and_who_reads_goes_on(database: Database, settings: Settings) -> None:
    worker = CacheKeeper(database, settings)
    space = fill(settings, 3)
    worker.look()
    with database.writing() as session:
        repository.request_emptying(session)
    worker.look()
    (said,) = reported(database)
    assert (said.bytes, said.is_emptying) == (0, False)
    assert not list(settings.cache.glob("*/*.rows"))
    assert space.read([bytes([2]) * 32], 0).tolist() == [[1.0] * 64]  # as a running job does
    with space.computing():
        space.append([bytes([9]) * 32], 0, np.full((1, 64), 9, np.float32), 0.0)
    assert fill(settings, 0).missing([bytes([9]) * 32, bytes([2]) * 32], 0) == [1]


def test_what_it_did_for_jobs_is_summed(database: Database, settings: Settings) -> None:
    CacheKeeper(database, settings).look()
    for _ in range(2):
        found = cache_reporter.identity(settings)
        assert found is not None
        with database.writing() as session:
            repository.add_savings(session, found, {"hits": 10, "misses": 2, "saved_seconds": 0.5})
    (said,) = reported(database)
    assert (said.hits, said.misses, said.saved_seconds) == (20, 4, 1.0)


def test_a_folder_that_cannot_be_used_is_none(database: Database) -> None:
    nowhere = Settings(cache_dir=Path("/dev/null/cache"))
    with pytest.raises(OSError, match="Not a directory"):
        CacheKeeper(database, nowhere).look()
    assert cache_reporter.identity(nowhere) is None
    assert reported(database) == []
