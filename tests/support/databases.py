"""Databases that a test creates on a running PostgreSQL."""

from __future__ import annotations

import psycopg
from sqlalchemy.engine import make_url
from ulid import ULID


def create(server: str, name: str | None = None, template: str | None = None) -> str:
    """Create a database on the server of a URL, of a new name if none is given; returns the database's own URL."""
    name = name or f"graft_{ULID()}".lower()
    _execute(server, f"CREATE DATABASE {name}{f' TEMPLATE {template}' if template else ''}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def drop(server: str, url: str) -> None:
    """Drop a database by its own URL; connections to it are cut."""
    _execute(server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    plain = make_url(server).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())
