"""Attempts at the validation of a dataset: the uploaded archive is deleted once a verdict is committed, not before."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.database import Database
from service.settings import Settings
from service.storage import Storage
from service.tables import Dataset
from tests.support.broken_database import broken_commits
from workers.lease import LeaseLost, claim
from workers.supervisor import Supervisor
from workers.work.validation import DatasetAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

ARCHIVE = "datasets/ds_1/archive"


@pytest.fixture
def upload(database: Database, settings: Settings) -> Path:
    """Add a dataset to validate whose archive is malformed; gives the file."""
    with Storage(settings.storage).writing(ARCHIVE) as file:
        file.write(b"no archive")
    with database.writing() as session:
        session.add(Dataset(id="ds_1", name="", status="validating", archive=ARCHIVE, classes=[], images=0))
    (found,) = settings.data.rglob("archive")
    return found


def validate(database: Database, settings: Settings, kind: type[DatasetAttempt] = DatasetAttempt) -> None:
    """Claim the dataset and run an attempt at its validation."""
    with database.writing() as session:
        held = claim(session, Dataset, "validating", "validating", "w", 60)
    assert held is not None
    Supervisor(database, settings, held, kind(database, settings, held), threading.Event()).run()


def test_the_archive_is_deleted_after_the_verdict(database: Database, settings: Settings, upload: Path) -> None:
    validate(database, settings)
    with database.reading() as session:
        assert session.get_one(Dataset, "ds_1").status == "failed"
    assert not upload.exists()


def test_the_archive_is_kept_if_the_verdict_is_not_committed(
    database: Database, settings: Settings, upload: Path
) -> None:
    class Robbed(DatasetAttempt):
        def record(self, session: Session, row: Dataset, lines: list[bytes]) -> bool:
            super().record(session, row, lines)
            raise LeaseLost("before the commit")

    validate(database, settings, Robbed)
    with database.reading() as session:
        assert session.get_one(Dataset, "ds_1").status == "validating"
    assert upload.exists(), "the next attempt needs it"


def test_a_verdict_whose_commit_fails_is_written_again_and_then_the_archive_is_deleted(
    database: Database, settings: Settings, upload: Path
) -> None:
    class WithBrokenCommit(DatasetAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            if lines:
                breaking.enter_context(broken_commits(database, 1, lambda: kept.append(upload.exists())))

    kept: list[bool] = []
    with ExitStack() as breaking:
        validate(database, settings, WithBrokenCommit)
    with database.reading() as session:
        assert session.get_one(Dataset, "ds_1").status == "failed"
    assert kept == [True]
    assert not upload.exists()


def test_the_archive_is_kept_if_the_commit_fails_and_the_lease_is_lost(
    database: Database, settings: Settings, upload: Path
) -> None:
    class WithBrokenCommit(DatasetAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            breaking.enter_context(broken_commits(database, 1, lose))

    def lose() -> None:
        thief.start()

    def steal() -> None:
        with other.writing() as session:
            session.execute(text("UPDATE datasets SET attempt = 7"))

    other, thief = Database(database.url), threading.Thread(target=steal)
    with ExitStack() as breaking:
        validate(database, settings, WithBrokenCommit)
    thief.join()
    other.close()
    with database.reading() as session:
        row = session.get_one(Dataset, "ds_1")
    assert (row.status, row.attempt) == ("validating", 7)
    assert upload.exists(), "the next attempt needs it"


def test_the_archive_is_deleted_when_the_validation_keeps_crashing(
    database: Database, settings: Settings, upload: Path
) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE datasets SET crashes = 3"))
    validate(database, settings)
    with database.reading() as session:
        row = session.get_one(Dataset, "ds_1")
    assert (row.status, row.error and row.error["code"]) == ("failed", "worker_died")
    assert not upload.exists()


@pytest.mark.usefixtures("upload")
def test_a_storage_that_does_not_answer_leaves_the_archive_to_the_sweep(
    database: Database, settings: Settings, unreachable_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE datasets SET crashes = 3"))
    validate(database, Settings(data=settings.data, storage_url=unreachable_storage))
    with database.reading() as session:
        assert session.get_one(Dataset, "ds_1").status == "failed"
    assert f"the sweep will remove {ARCHIVE}" in caplog.text
