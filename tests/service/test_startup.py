"""Checks at the start: each thing that cannot work is one line that names it and says what to do."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

import migrations
from service import startup
from service.database import Database
from service.keys import repository as keys
from service.keys.scopes import Scope
from service.settings import Settings
from service.startup import CannotStart
from tests.support import unreachable_storage
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

as_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def refuse(check: Callable[[Settings], None], settings: Settings, *says: str) -> None:
    """Assert that a check refuses to start, in one line that says all of this."""
    with pytest.raises(CannotStart) as refused:
        check(settings)
    message = str(refused.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_a_fresh_folder_is_made_and_migrated(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "new" / "data")
    refuse(startup.check, settings, "graft.sqlite", "Run: graft migrate")
    startup.upgrade_database(settings)
    startup.check(settings)
    startup.prepare_worker_folders(settings)
    assert {path.name for path in settings.data.iterdir()} >= {"graft.sqlite", "storage", "scratch", "cache"}


@pytest.mark.parametrize("inside", ["", "data"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, inside: str) -> None:
    file = tmp_path / "file"
    file.touch()
    settings = Settings(data=file / inside, cache_dir=tmp_path, backbones=file)
    refuse(startup.check, settings, "GRAFT_DATA", str(file), "is no folder", "Set GRAFT_DATA to a folder")
    refuse(startup.prepare_worker_folders, Settings(data=tmp_path, cache_dir=file), "GRAFT_CACHE_DIR", str(file))
    settings = Settings(data=tmp_path, backbones=file)
    refuse(startup.prepare_worker_folders, settings, "GRAFT_BACKBONES", str(file), "is no folder")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    refuse(startup.upgrade_database, Settings(data=Path("/proc/graft")), "GRAFT_DATA", "/proc/graft", "Set")
    long = Settings(data=tmp_path / ("x" * 300))
    refuse(startup.prepare_data, long, "GRAFT_DATA", "File name too long")
    odd = Settings(data=tmp_path / os.fsdecode(b"\xff"))
    refuse(startup.prepare_data, odd, "GRAFT_DATA", "is not UTF-8")


@as_a_user
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refuse(startup.prepare_data, Settings(data=tmp_path), "may not write", "permissions")


def test_a_folder_of_backbones_that_does_not_exist(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, backbones=tmp_path / "none")
    refuse(startup.prepare_worker_folders, settings, "GRAFT_BACKBONES", "none does not exist")


def test_neither_database_nor_storage_needs_the_folder(tmp_path: Path, sqlite_url: str) -> None:
    settings = Settings(data=Path("/proc/graft"), database_url=sqlite_url, storage_url=(tmp_path / "s").as_uri())
    startup.check(settings)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_of_a_newer_version(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    settings = Settings(data=tmp_path, database_url=request.getfixturevalue(f"{kind}_url"))
    database = Database(settings.database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    for check in (startup.check, startup.upgrade_database):
        refuse(check, settings, "the schema 9999", "newer version", "GRAFT_DATABASE_URL")


def test_a_database_of_an_older_version(database: Database, tmp_path: Path) -> None:
    migrations.downgrade(database.url, "base")
    settings = Settings(data=tmp_path, database_url=database.url)
    refuse(startup.check, settings, "older version", "Run: graft migrate")


@pytest.mark.parametrize("start", [0, 4096])
def test_a_damaged_database(tmp_path: Path, start: int) -> None:
    settings = Settings(data=tmp_path)
    startup.upgrade_database(settings)
    with (tmp_path / "graft.sqlite").open("r+b") as file:
        file.seek(start)
        file.write(b"garbage!" * 8192)
    for check in (startup.check, startup.upgrade_database):
        refuse(check, settings, "graft.sqlite is damaged", "Restore it from a backup")


def test_a_folder_in_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "graft.sqlite").mkdir()
    refuse(startup.upgrade_database, Settings(data=tmp_path), "graft.sqlite cannot be used", "GRAFT_DATA")


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.database.BUSY_SECONDS", 0.1)
    settings = Settings(data=tmp_path)
    startup.upgrade_database(settings)
    other = sqlite3.connect(tmp_path / "graft.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refuse(startup.upgrade_database, settings, "is locked by another process")
    other.close()


def test_a_database_that_refuses_or_does_not_exist(tmp_path: Path, postgresql_url: str) -> None:
    nobody = f"postgres://graft:secret@127.0.0.1:{free_port()}/x"
    unknown = postgresql_url.rpartition("/")[0] + "/none"
    for url, says in ((nobody, "refused"), (unknown, 'database "none" does not exist')):
        settings = Settings(data=tmp_path, database_url=url)
        for check in (startup.check, startup.upgrade_database):
            refuse(check, settings, says, "GRAFT_DATABASE_URL")


def test_a_database_that_takes_connections_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://graft@127.0.0.1:{silent.getsockname()[1]}/x"
        settings = Settings(data=tmp_path, database_url=url)
        refuse(startup.check, settings, "timeout", "GRAFT_DATABASE_URL")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nothing://at-all", "no storage can be reached by this URL"),
        ("gs://bucket/folder", "a package for this kind of storage is missing"),
        ("/dev/null/graft", "the storage cannot be used"),
        ("ftp://127.0.0.1:9/graft", "the storage cannot be used"),  # its client connects when it is made
        (unreachable_storage.URL, "no answer for"),
    ],
)
def test_a_storage_that_cannot_be_reached(tmp_path: Path, unreachable_storage: str, url: str, says: str) -> None:
    settings = Settings(data=tmp_path, storage_url=url)
    refuse(startup.check_storage, settings, "GRAFT_STORAGE_URL", says)


def test_a_port_that_cannot_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Settings(port=other.getsockname()[1])
        refuse(startup.check_port, taken, "another program", "set GRAFT_PORT")
    for host in ("no.such.host.invalid", "x" * 70, "http://localhost"):
        refuse(startup.check_port, Settings(host=host), host, "GRAFT_HOST")
    refuse(startup.check_port, Settings(host="192.0.2.1", port=free_port()), "GRAFT_HOST")
    startup.check_port(Settings(port=free_port()))


@as_a_user
def test_a_port_that_is_reserved() -> None:
    refuse(startup.check_port, Settings(port=80), "GRAFT_PORT")


def test_a_redis_that_does_not_answer_is_reported_and_one_that_does_is_not(
    capfd: pytest.CaptureFixture[str], redis_url: str
) -> None:
    startup.warn_of_silent_broker(Settings(broker_url=redis_url))
    startup.warn_of_silent_broker(Settings())
    assert capfd.readouterr().err == ""
    startup.warn_of_silent_broker(Settings(broker_url=f"redis://:secret@127.0.0.1:{free_port()}/0"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        startup.warn_of_silent_broker(Settings(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("GRAFT_BROKER_URL: Redis at 127.0.0.1 does not answer" in line for line in lines)
    assert "secret" not in str(lines)


def test_the_reason_is_the_last_line_of_a_process_that_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, startup.ending_when_impossible():
        raise CannotStart("because")
    assert ended.value.code == startup.CANNOT_START
    assert capfd.readouterr().err == "because\n"


def test_without_a_key_only_this_machine_is_listened_on(tmp_path: Path) -> None:
    local = Settings(data=tmp_path)
    startup.upgrade_database(local)
    open_to_all = local.model_copy(update={"host": "0.0.0.0"})
    always = local.model_copy(update={"auth": "on"})
    startup.check_keys(local)
    startup.check_keys(open_to_all.model_copy(update={"auth": "off"}))
    refuse(startup.check_keys, open_to_all, "GRAFT_HOST=0.0.0.0", "graft keys create", "GRAFT_AUTH=off")
    refuse(startup.check_keys, always, "GRAFT_AUTH is on", "graft keys create")
    database = Database(local.database)
    with database.writing() as session:
        keys.create(session, "expired", [Scope.ADMIN], -1.0)
        revoked = keys.create(session, "revoked", [Scope.ADMIN]).key
        keys.revoke(session, revoked.id)
    refuse(startup.check_keys, open_to_all, "no valid API key")
    with database.writing() as session:
        keys.create(session, "valid", [Scope.ADMIN], 60.0)
    database.close()
    startup.check_keys(open_to_all)
    startup.check_keys(always)
