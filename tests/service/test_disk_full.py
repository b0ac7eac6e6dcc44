"""Full disks: files, SQLite and PostgreSQL that report one, and the answer to callers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service import disk_full
from service.storage import Storage
from tests.support.images import coloured_classes, write_zip

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database


def fill(database: Database) -> None:
    """Keep the database from growing."""
    with database.writing() as session:
        if database.url.startswith("sqlite"):
            session.execute(text("CREATE TABLE ballast (x)"))
            return
        session.execute(
            text(
                "CREATE FUNCTION full_disk() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'could not extend file' "
                "USING ERRCODE = '53100'; END $$ LANGUAGE plpgsql"
            )
        )
        session.execute(
            text("CREATE TRIGGER full_disk BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION full_disk()")
        )


def grow(database: Database) -> None:
    """Write more than fits on the disk."""
    with database.writing() as session:
        if database.url.startswith("sqlite"):
            session.execute(text("PRAGMA max_page_count = 1"))
            session.execute(text("INSERT INTO ballast VALUES (zeroblob(10000000))"))
        else:
            session.execute(text("INSERT INTO jobs (id) VALUES ('job_1')"))


def test_full_databases_are_recognized(database: Database) -> None:
    fill(database)
    with pytest.raises(OperationalError) as caught:
        grow(database)
    assert disk_full.is_disk_full(caught.value)


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OperationalError("SELECT 1", {}, Exception("gone")), False),
        (ValueError(), False),
    ],
)
def test_full_disks_are_told_from_other_errors(error: Exception, is_full: bool) -> None:
    assert disk_full.is_disk_full(error) == is_full


def test_an_upload_to_a_full_disk_is_refused_and_leaves_nothing(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = write_zip(tmp_path / "colours.zip", coloured_classes(2, 4)).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "writing", full)
        answer = client.post("/v1/datasets?name=colours", content=archive)
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
    assert answer.headers["Retry-After"] == "60"
    assert client.get("/v1/datasets").json()["data"] == []
    assert client.post("/v1/datasets?name=colours", content=archive).status_code == 202
