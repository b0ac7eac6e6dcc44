"""Migrations of the database's schema (Alembic)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from service.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK = 0x67726166
"""PostgreSQL advisory lock held during an upgrade: two processes may start at once."""


class SchemaUnknown(Exception):
    """The database has a schema that this version does not know: a newer version's, or another program's."""


class SchemaOutdated(Exception):
    """The database has the schema of an older version, or none."""


def check(url: str) -> None:
    """Check that the database has the newest schema. Raises SchemaUnknown, SchemaOutdated."""
    database = Database(url)
    try:
        with database.engine.connect() as connection:
            found = _find_revision(connection)
            if found != _scripts(connection).get_current_head():
                raise SchemaOutdated(found or "none")
    finally:
        database.close()


def upgrade(url: str) -> None:
    """Migrate the database to the newest schema; does nothing where it is there already. Raises SchemaUnknown."""
    database = Database(url)
    try:
        with database.engine.execution_options(graft_writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _find_revision(connection)
            command.upgrade(_config(connection), "head")
    finally:
        database.close()


def downgrade(url: str, revision: str) -> None:
    """Migrate the database back to an older schema; `base` is an empty one."""
    database = Database(url)
    try:
        with database.engine.execution_options(graft_writes=True).begin() as connection:
            command.downgrade(_config(connection), revision)
    finally:
        database.close()


def revise(url: str, message: str) -> None:
    """Write a migration from the database's schema to that of the tables in the code."""
    database = Database(url)
    try:
        with database.engine.begin() as connection:
            command.revision(_config(connection), message, autogenerate=True)
    finally:
        database.close()


def _find_revision(connection: Connection) -> str | None:
    """Find the revision of the database's schema; None for an empty database. Raises SchemaUnknown."""
    found = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in _scripts(connection).walk_revisions()}
    if unknown := set(found) - known:
        raise SchemaUnknown(", ".join(sorted(unknown)))
    return next(iter(found), None)


def _scripts(connection: Connection) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(connection))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("file_template", "%%(year)d-%%(month).2d-%%(day).2d-%%(hour).2d%%(minute).2d_%%(slug)s")
    config.attributes["connection"] = connection
    return config
