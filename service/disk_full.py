"""Room: which errors say that a disk is full."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

DISK_FULL = "53100"
"""PostgreSQL's own code."""


def is_lacking(error: BaseException) -> bool:
    """Whether a disk, or somebody's share of it, is full: a file's, SQLite's or PostgreSQL's."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    return code == (sqlite3.SQLITE_FULL, None) or code == (None, DISK_FULL)
