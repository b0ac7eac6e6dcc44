"""One Idempotency-Key creates one resource, on both databases, also when two requests come at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from service import idempotency
from service.tables import Dataset

if TYPE_CHECKING:
    from service.database import Database


def new(name: str) -> Dataset:
    """A dataset's row."""
    return Dataset(id=name, name="", status="validating", attempt=0, crashes=0, classes=[], images=0)


def test_concurrent_requests_with_one_key_create_one_resource(database: Database) -> None:
    made: list[str] = []
    found: list[str] = []

    def ask(number: int) -> None:
        with database.writing() as session:
            row = idempotency.find_earlier(session, "key", "request", Dataset)
            if row is None:
                row = new(f"ds_{number}")
                session.add(row)
                idempotency.remember(session, "key", "request", row.id)
                made.append(row.id)
            found.append(row.id)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_a_key_of_another_request_is_refused(database: Database) -> None:
    with database.writing() as session:
        session.add(new("ds_1"))
        idempotency.remember(session, "key", "request", "ds_1")
    with database.reading() as session, pytest.raises(idempotency.IdempotencyKeyReused, match="new key"):
        idempotency.find_earlier(session, "key", "another", Dataset)
    with database.reading() as session:
        assert idempotency.find_earlier(session, "other key", "another", Dataset) is None


def test_a_key_whose_resource_is_deleted_is_spent(database: Database) -> None:
    with database.writing() as session:
        idempotency.remember(session, "key", "request", "ds_1")
    with database.reading() as session, pytest.raises(idempotency.IdempotencyKeySpent, match="ds_1, which is deleted"):
        idempotency.find_earlier(session, "key", "request", Dataset)
