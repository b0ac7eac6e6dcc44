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
        if left and is_writing(connection):
            left -= 1
            if not left:
                then()
            raise connection_lost()

    with listening(database, "commit", fail):
        yield


@contextmanager
def lost_answers(database: Database, times: int) -> Iterator[None]:
    """Have the next writing transactions commit, and their answers get lost."""
    left = times

    def commit_and_fail(connection: Any) -> None:
        nonlocal left
        if left and is_writing(connection):
            left -= 1
            connection.connection.dbapi_connection.execute("COMMIT")
            raise connection_lost()

    with listening(database, "commit", commit_and_fail):
        yield


@contextmanager
def broken_statements(database: Database, times: int, error: Exception) -> Iterator[None]:
    """Have the next statements raise an error."""
    left = times

    def fail(*_: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            raise error

    with listening(database, "before_cursor_execute", fail):
        yield


@contextmanager
def listening(database: Database, name: str, listener: Callable[..., None]) -> Iterator[None]:
    """Have SQLAlchemy call a listener at each event of this name."""
    event.listen(database.engine, name, listener)
    try:
        yield
    finally:
        event.remove(database.engine, name, listener)


def is_writing(connection: Any) -> bool:
    """Tell whether a connection is that of a writing transaction."""
    return bool(connection.get_execution_options().get("graft_writes", False))


def connection_lost() -> OperationalError:
    """Make the error of a COMMIT whose server has gone away."""
    return OperationalError("COMMIT", {}, ConnectionError("the server went away"))
