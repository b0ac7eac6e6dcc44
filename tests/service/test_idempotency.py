"""One key makes one thing, on both databases, also when two requests come at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from service import idempotency

if TYPE_CHECKING:
    from service.database import Database


def test_two_at_once_make_one_thing(database: Database) -> None:
    made: list[str] = []
    found: list[str] = []

    def ask(number: int) -> None:
        with database.writing() as session:
            earlier = idempotency.earlier(session, "key", "request")
            if earlier is None:
                made.append(f"thing {number}")
                idempotency.remember(session, "key", "request", f"thing {number}")
            found.append(earlier or f"thing {number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_a_key_of_another_request_is_refused(database: Database) -> None:
    with database.writing() as session:
        idempotency.remember(session, "key", "request", "thing")
    with database.reading() as session, pytest.raises(idempotency.IdempotencyKeyReused, match="new key"):
        idempotency.earlier(session, "key", "another")
    with database.reading() as session:
        assert idempotency.earlier(session, "other key", "another") is None
