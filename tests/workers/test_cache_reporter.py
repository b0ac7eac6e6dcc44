"""Reports of the feature cache's size, and emptying it, on both databases."""

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
from tests.support.stored_rows import digests, missing, read
from workers import cache_reporter
from workers.cache_reporter import CacheReporter

if TYPE_CHECKING:
    from service.database import Database
    from service.tables import Cache

ROW = 64 * 2 + 44
"""Bytes of a row and its record."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of one machine, with a cache of its own."""
    return Settings(cache_dir=tmp_path / "cache", cache_bytes=5 << 20)


def fill(settings: Settings, rows: int) -> FeatureStore:
    """Write a number of rows of features into the cache."""
    store = FeatureStore(FeatureCache(settings.cache), {"trunk": "t"}, (64,), np.dtype(np.float16))
    with store.lock():
        store.append(digests(range(rows)), 0, np.ones((rows, 64), np.float32), 0.0)
    return store


def read_reports(database: Database) -> list[Cache]:
    """Read the rows of all caches."""
    with database.reading() as session:
        return repository.find_all(session)


def test_the_workers_of_a_machine_report_its_cache_once(database: Database, settings: Settings) -> None:
    workers = [CacheReporter(database, settings) for _ in range(2)]
    for worker in workers:
        worker.update()
    fill(settings, 3)
    for worker in workers:
        worker.update()
    (report,) = read_reports(database)
    assert (report.bytes, report.budget_bytes, report.folder) == (3 * ROW, 5 << 20, str(settings.cache))


def test_nothing_is_written_while_nothing_changes(database: Database, settings: Settings) -> None:
    worker = CacheReporter(database, settings)
    worker.update()
    with database.writing() as session:
        session.execute(text("UPDATE caches SET bytes = 77"))
    worker.update()
    assert read_reports(database)[0].bytes == 77


def test_the_cache_is_emptied_on_request_while_a_job_reads_on(database: Database, settings: Settings) -> None:
    worker = CacheReporter(database, settings)
    store = fill(settings, 3)
    worker.update()
    with database.writing() as session:
        repository.request_emptying(session)
    worker.update()
    (report,) = read_reports(database)
    assert (report.bytes, report.is_emptying) == (0, False)
    assert not list(settings.cache.glob("*/*.rows"))
    assert read(store, [2]).tolist() == [[1.0] * 64]  # as a running job does
    with store.lock():
        store.append(digests([9]), 0, np.full((1, 64), 9, np.float32), 0.0)
    assert missing(fill(settings, 0), [9, 2]) == [2]


def test_hits_and_misses_of_jobs_are_summed(database: Database, settings: Settings) -> None:
    CacheReporter(database, settings).update()
    for _ in range(2):
        found = cache_reporter.read_identity(settings)
        assert found is not None
        with database.writing() as session:
            repository.add_savings(session, found, {"hits": 10, "misses": 2, "saved_seconds": 0.5})
    (report,) = read_reports(database)
    assert (report.hits, report.misses, report.saved_seconds) == (20, 4, 1.0)


def test_an_unusable_folder_has_no_identity(database: Database) -> None:
    nowhere = Settings(cache_dir=Path("/dev/null/cache"))
    with pytest.raises(OSError, match="Not a directory"):
        CacheReporter(database, nowhere).update()
    assert cache_reporter.read_identity(nowhere) is None
    assert read_reports(database) == []
