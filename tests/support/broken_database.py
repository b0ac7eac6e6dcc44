"""Databases that fail on demand, at a COMMIT or at any statement."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.database import Database


@contextmanager
def broken_commits(database: Database, times: int, then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have the next COMMITs of writing transactions fail, as when a server goes away; with the last, call `then()`."""
    left = times

    def fail(connection: Any) -> None:
        nonlocal left
        if left and connection.get_execution_options().get("graft_writes", False):
            left -= 1
            if not left:
                then()
            raise OperationalError("COMMIT", {}, ConnectionError("the server went away"))

    event.listen(database.engine, "commit", fail)
    try:
        yield
    finally:
        event.remove(database.engine, "commit", fail)


@contextmanager
def lost_answers(database: Database, times: int) -> Iterator[None]:
    """Have the next writing transactions commit, and their answers get lost."""
    left = times

    def commit_and_fail(connection: Any) -> None:
        nonlocal left
        if left and connection.get_execution_options().get("graft_writes", False):
            left -= 1
            connection.connection.dbapi_connection.execute("COMMIT")
            raise OperationalError("COMMIT", {}, ConnectionError("the server went away"))

    event.listen(database.engine, "commit", commit_and_fail)
    try:
        yield
    finally:
        event.remove(database.engine, "commit", commit_and_fail)


@contextmanager
def broken_statements(database: Database, times: int, error: Exception) -> Iterator[None]:
    """Have the next statements raise an error."""
    left = times

    def fail(*_: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            raise error

    event.listen(database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", fail)
