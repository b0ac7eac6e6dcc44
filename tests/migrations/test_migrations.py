"""The steps build what the tables say, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

import migrations
from service.database import Database
from service.tables import Event, Job, Snapshot, Table
from tests.support.jobs import add_jobs

if TYPE_CHECKING:
    from pathlib import Path


def test_the_steps_build_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_down_to_nothing_and_up_again(database: Database) -> None:
    migrations.downgrade(database.url, "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(database.url)
    assert set(Table.metadata.tables) <= set(inspect(database.engine).get_table_names())


def test_jobs_whose_snapshot_an_upgrade_drops_are_told(database: Database) -> None:
    add_jobs(database, 2)
    migrations.downgrade(database.url, "0005")
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET event_seq = 4"))
        for statement in (
            "INSERT INTO snapshots (job_id, epoch, header, bytes, digest) VALUES ('job_001', 1, 'x', 1, 'x')",
            "INSERT INTO tensors (digest, bytes) VALUES ('t', 4)",
            "INSERT INTO snapshot_tensors (job_id, position, digest) VALUES ('job_001', 0, 't')",
        ):
            session.connection().exec_driver_sql(statement)
    migrations.upgrade(database.url)
    with database.reading() as session:
        told = session.scalars(select(Event)).all()
        assert [(event.job_id, event.seq, event.kind, event.data) for event in told] == [
            ("job_001", 5, "snapshot_dropped", {})
        ]
        assert session.scalars(select(Job.event_seq).order_by(Job.id)).all() == [4, 5]
        assert session.scalars(select(Snapshot)).all() == []


def test_many_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrations.upgrade(url), range(4)))
    database = Database(url)
    assert set(Table.metadata.tables) <= set(inspect(database.engine).get_table_names())
    database.close()


def test_many_may_make_the_same_file_at_once(tmp_path: Path) -> None:
    together = Barrier(6)

    def make(url: str) -> None:
        together.wait()
        database = Database(url)
        with database.reading() as session:
            session.execute(text("SELECT 1"))
        database.close()

    for turn in range(20):
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(make, [f"sqlite:///{tmp_path / f'{turn}.sqlite'}"] * 6))


def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    database = Database(url)
    with database.writing() as session:
        session.execute(text("CREATE TABLE jobs (id TEXT)"))
    with pytest.raises(Exception, match="already exists"):
        migrations.upgrade(url)
    assert inspect(database.engine).get_table_names() == ["jobs"]
    with database.writing() as session:
        session.execute(text("DROP TABLE jobs"))
    migrations.upgrade(url)
    database.close()


def test_chunks_are_large_pages_on_sqlite_and_uncompressed_on_postgresql(database: Database) -> None:
    with database.reading() as session:
        if database.engine.dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA page_size")) == 16384
            assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        else:
            storage = text("SELECT attstorage FROM pg_attribute WHERE attrelid='chunks'::regclass AND attname='data'")
            assert session.scalar(storage) in {"e", b"e"}
