"""Database access: one engine, with read-only and writing transactions.

`reading()` sees one consistent state. `writing()` commits once, at its end, or rolls all back. On SQLite a writing
transaction takes the write lock at once (BEGIN IMMEDIATE): one that first reads and writes later would
otherwise fail with "database is locked" whatever the busy timeout, as soon as another wrote in between.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection as SqliteConnection

BUSY_SECONDS = 30.0
"""Time that a connection to SQLite waits for another that writes."""
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
REASON = 300
"""Most characters of a driver's reason."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


class Database:
    """A SQLite or PostgreSQL database under one URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite(url) if sqlite else _postgresql(url)
        # SQLite's transactions see one state by themselves.
        self._reader = self.engine if sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a read-only transaction."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def connecting(self) -> Iterator[Connection]:
        """Open a plain connection, for single statements that must be quick: a session takes twice as long."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction that commits when its block ends, and rolls back when it raises."""
        writer = self.engine.execution_options(graft_writes=True)
        with Session(writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock_name(session: Session, name: str) -> None:
    """Lock a name until the transaction ends, so that transactions that do so run one after another.

    SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def describe_error(error: Exception) -> str:
    """Describe an error of a database or a server in one line, in its driver's words, without SQL and passwords."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = re.sub(r"Is the server running[^?]*\?", "", str(cause)).removeprefix("connection failed: ")
    text = CREDENTIALS.sub("", text) or type(error).__name__
    return " ".join(text.split())[:REASON].rstrip(".")


def get_sqlite_code(error: BaseException | None) -> int | None:
    """Get the primary result code of an error of SQLite; None for any other error."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _postgresql(url: str) -> Engine:
    # A connection that the server dropped is replaced before it is used, not after it failed.
    return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: SqliteConnection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        # Larger pages leave more of a page empty behind each head of a fine-tune; the file is made with it.
        connection.execute("PRAGMA page_size=4096")
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")  # what was answered with 202 survives a power cut
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("graft_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: SqliteConnection) -> None:
    """Turn on write-ahead logging. Of several processes that create one file, SQLite fails all but one at once."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if get_sqlite_code(error) not in BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)
