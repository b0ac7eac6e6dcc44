"""Recognize a full disk in the errors of files, SQLite and PostgreSQL."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

DISK_FULL = "53100"
"""PostgreSQL's SQLSTATE for a full disk."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error reports a full disk or an exhausted quota."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    return code == (sqlite3.SQLITE_FULL, None) or code == (None, DISK_FULL)
