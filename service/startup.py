"""Checks of a process at its start: what cannot work ends it, in one line that says what to do."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import sys
import threading
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

import migrations
from service import disk_full
from service.database import Database, describe_error, get_sqlite_code
from service.keys import repository as keys
from service.settings import find_misspelled
from service.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.settings import Settings

CANNOT_START = os.EX_CONFIG
"""Exit status of a process that cannot start, and would not if it were started again."""
STORAGE_SECONDS = 10.0
"""Time in which the storage must answer."""
BROKER_SECONDS = 2.0
"""Time in which Redis must answer."""


class CannotStart(Exception):
    """The process cannot start with these settings on this machine; the message says what to do."""


@contextmanager
def ending_when_impossible() -> Iterator[None]:
    """End this process with the status CANNOT_START, and its reason in one line, when the block raises CannotStart."""
    try:
        yield
    except CannotStart as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_START) from None


def warn_of_misspelled_settings() -> None:
    """Say in one line each which variables have no effect, since their name is nearly a setting's."""
    for name, setting in find_misspelled().items():
        print(f"{name} is no setting of Graft, and has no effect. Did you mean {setting}?", file=sys.stderr, flush=True)


def check(settings: Settings) -> None:
    """Check what every part of the service needs: the database, in the newest schema, and the storage.

    Raises CannotStart.
    """
    check_database(settings)
    check_storage(settings)


def check_database(settings: Settings) -> None:
    """Check that the database answers, in the newest schema. Raises CannotStart."""
    prepare_data(settings)
    check_schema(settings)


def check_schema(settings: Settings) -> None:
    """Check that the database has the newest schema; a file of SQLite that is missing is made. Raises CannotStart."""
    with _explaining_database(settings):
        migrations.check(settings.database)


def upgrade_database(settings: Settings) -> None:
    """Migrate the database to the newest schema. Raises CannotStart."""
    if not settings.database_url:
        prepare_folder(settings.data, "GRAFT_DATA")
    with _explaining_database(settings):
        migrations.upgrade(settings.database)


def prepare_data(settings: Settings) -> None:
    """Make the folder of the database and the storage, if one of them lies there. Raises CannotStart."""
    if not (settings.database_url and settings.storage_url):
        prepare_folder(settings.data, "GRAFT_DATA")


def prepare_worker_folders(settings: Settings) -> None:
    """Make the folders that a worker writes to, and check that of its backbones. Raises CannotStart."""
    prepare_folder(settings.scratch, "GRAFT_DATA")
    prepare_folder(settings.cache, "GRAFT_CACHE_DIR" if settings.cache_dir else "GRAFT_DATA")
    check_backbones(settings)


def check_backbones(settings: Settings) -> None:
    """Check the folder of local backbones, if there is one. Raises CannotStart."""
    folder = settings.backbones
    if folder is not None and not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        what = "is no folder" if folder.exists() else "does not exist"
        problem = "may not be read" if folder.is_dir() else what
        raise CannotStart(
            f"GRAFT_BACKBONES: {folder} {problem}. Set it to a folder that holds a folder for each backbone, "
            "or unset it."
        )


def prepare_folder(folder: Path, setting: str) -> None:
    """Make a folder, and check that it can be written to. Raises CannotStart."""
    try:
        str(folder).encode()
        with suppress(FileExistsError, NotADirectoryError):  # told below
            folder.mkdir(parents=True, exist_ok=True)
    except UnicodeEncodeError:
        raise CannotStart(f"{setting}: the name {str(folder)!r} is not UTF-8. Set {setting} to another.") from None
    except OSError as error:
        _check_disk(error, setting, folder)
        raise CannotStart(
            f"{setting}: the folder {folder} cannot be made: {error.strerror}. Set {setting} to a folder that Graft "
            "may write to."
        ) from None
    check_folder(folder, setting)


def check_folder(folder: Path, setting: str) -> None:
    """Check that a folder can be written to; one that is missing, that it can be made. Raises CannotStart."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise CannotStart(
            f"{setting}: {folder} is no folder, or lies in none: a file has that name. Set {setting} to a folder."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise CannotStart(
            f"{setting}: Graft may not write to the folder {there}. Change its owner or permissions, or set {setting} "
            "to another."
        )


def check_storage(settings: Settings) -> None:
    """Check that the storage answers in time. Raises CannotStart."""
    setting = "GRAFT_STORAGE_URL" if settings.storage_url else "GRAFT_DATA"
    failures: list[Exception] = []

    def ask() -> None:
        try:
            Storage(settings.storage).check()
        except Exception as error:  # reported below, in the thread that starts the process
            failures.append(error)

    # A thread, since clients of networks wait for minutes.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(STORAGE_SECONDS)
    if not failures and not asking.is_alive():
        return
    reason = f"no answer within {STORAGE_SECONDS:.0f} seconds"
    for failure in failures:
        _check_disk(failure, setting, settings.storage)
        _check_url(failure, setting)
        reason = describe_error(failure.__cause__ if isinstance(failure.__cause__, Exception) else failure)
    raise CannotStart(
        f"{setting}: the storage cannot be used: {reason}. Check that it is there and may be written to, or set "
        f"{setting} to another."
    )


def _check_url(error: Exception, setting: str) -> None:
    """Raise CannotStart if the error says that there is no storage of the URL's kind."""
    if isinstance(error, ImportError):
        raise CannotStart(
            f"{setting}: a package for this kind of storage is missing ({error}). For S3: pip install 'graft[s3]'"
        )
    if isinstance(error, ValueError):
        raise CannotStart(
            f"{setting}: no storage can be reached by this URL ({error}). Write file:///FOLDER or s3://BUCKET/FOLDER."
        )


def check_keys(settings: Settings) -> None:
    """Check that there is an API key where requests need one. Raises CannotStart."""
    if not settings.asks_for_keys:
        return
    database = Database(settings.database)
    try:
        with _explaining_database(settings), database.reading() as session:
            has_key = keys.has_valid(session)
    finally:
        database.close()
    if has_key:
        return
    why = "GRAFT_AUTH is on" if settings.auth == "on" else f"Other machines reach GRAFT_HOST={settings.host}"
    raise CannotStart(
        f"{why}, and there is no valid API key. Make one: graft keys create NAME --scope admin. Then start again; or "
        "set GRAFT_AUTH=off to let everybody in who reaches it."
    )


def check_port(settings: Settings) -> None:
    """Check that the API can listen. Raises CannotStart."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        raise CannotStart(
            f"Graft cannot listen on {settings.host}, port {settings.port}: {_explain_bind(error)}"
        ) from None


def _explain_bind(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return "GRAFT_HOST is no name or address of this machine. Set it to 127.0.0.1, or 0.0.0.0 for every interface."
    if error.errno == errno.EADDRINUSE:
        return "another program, perhaps another Graft, listens there. Stop it, or set GRAFT_PORT to another port."
    if error.errno == errno.EACCES:
        return "ports below 1024 are reserved for root. Set GRAFT_PORT to a higher one."
    return f"{error.strerror}. Set GRAFT_HOST to an address of this machine, such as 127.0.0.1."


def warn_of_silent_broker(settings: Settings) -> None:
    """Say so in one line where Redis does not answer; the service works without it, as workers poll."""
    if problem := find_broker_problem(settings):
        print(problem, file=sys.stderr, flush=True)


def find_broker_problem(settings: Settings) -> str | None:
    """Find why Redis does not answer, in words for people; None where it does, or where there is none."""
    if not settings.broker_url:
        return None
    import redis  # only where there is a broker

    where = urlsplit(settings.broker_url)
    try:
        with redis.Redis.from_url(
            settings.broker_url, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS
        ) as broker:
            broker.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        return (
            f"GRAFT_BROKER_URL: Redis at {where.hostname} does not answer: {describe_error(error)}. Until it does, "
            f"workers look for work every {settings.poll_seconds} s."
        )
    return None


@contextmanager
def _explaining_database(settings: Settings) -> Iterator[None]:
    """Raise CannotStart for every error of the database in the block."""
    name, setting = _name_database(settings.database), "GRAFT_DATABASE_URL" if settings.database_url else "GRAFT_DATA"
    try:
        yield
    except migrations.SchemaUnknown as error:
        raise CannotStart(
            f"{name} has the schema {error}, which Graft {version('graft')} does not know: a newer version wrote it, "
            f"or another program. Install that version, or set {setting} to another database."
        ) from None
    except migrations.SchemaOutdated:
        raise CannotStart(f"{name} has the schema of an older version of Graft, or none. Run: graft migrate") from None
    except (DBAPIError, sqlite3.Error) as error:
        raise CannotStart(f"{name} {_explain_database(error, setting)}") from None


def _name_database(database: str) -> str:
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        return f"The database {url.database}"
    return f"The database {url.database} at {url.host or 'this machine'}, port {url.port or 5432},"


def _explain_database(error: Exception, setting: str) -> str:
    reason = describe_error(error)
    if disk_full.is_disk_full(error):
        return "cannot be written to: the disk is full. Free some space."
    code = get_sqlite_code(getattr(error, "orig", error))
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"is damaged, or no SQLite database ({reason}). Restore it from a backup, or set {setting} to another."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"is locked by another process ({reason}). End it, then start again."
    if code is not None:
        return f"cannot be used: {reason}. Check its permissions and its folder's, or set {setting} to another."
    return f"cannot be used: {reason}. Check that it is running, and {setting}."


def _check_disk(error: Exception, setting: str, where: object) -> None:
    if disk_full.is_disk_full(error):
        raise CannotStart(f"{setting}: the disk of {where} is full. Free some space.") from None
