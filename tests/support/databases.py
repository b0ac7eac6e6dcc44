"""Databases that a test creates on a running PostgreSQL."""

from __future__ import annotations

import psycopg
from sqlalchemy.engine import make_url
from ulid import ULID


def create(server: str, name: str | None = None, template: str | None = None) -> str:
    """Create a database on the server of a URL, of a new name if none is given; returns the database's own URL."""
    name = name or f"graft_{ULID()}".lower()
    plain = make_url(server).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{f' TEMPLATE {template}' if template else ''}".encode())
    return make_url(server).set(database=name).render_as_string(hide_password=False)
