"""Settings: environment variables as people and tools write them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import migrations
from service.settings import Settings, find_misspelled, from_environment
from service.storage import Storage

ODD_NAMES = ["my data", "50%", "a%20b", "c#1", "why?", "Müller", "a::b", "[x]*"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without settings, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("is_relative", [True, False])
def test_database_and_storage_lie_in_a_folder_of_any_name(tmp_path: Path, name: str, is_relative: bool) -> None:
    settings = Settings(data=Path(name) if is_relative else tmp_path / name)
    settings.data.mkdir()
    migrations.upgrade(settings.database)
    with Storage(settings.storage).writing("datasets/a") as file:
        file.write(b"1")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} >= {"graft.sqlite", "storage"}
    assert (tmp_path / name / "storage" / "datasets" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["my data", "Müller"])
def test_what_an_earlier_version_kept_beside_the_folder_is_found_again(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    earlier = Path((data / "storage").as_uri().removeprefix("file://"))
    (earlier / "datasets").mkdir(parents=True)
    (earlier / "datasets" / "a").write_bytes(b"1")
    with Storage(Settings(data=data).storage).reading("datasets/a") as file:
        assert file.read() == b"1"


def test_an_empty_variable_is_none(environment: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "PORT", "CACHE_DIR", "BACKBONES", "DATABASE_URL", "DEVICE"):
        environment.setenv(f"GRAFT_{name}", "")
    assert from_environment() == Settings.model_construct(
        **{name: f.default for name, f in Settings.model_fields.items()}
    )


@pytest.mark.parametrize(
    "given",
    ["postgres://u:p%40%2F@h:5/n?sslmode=require", "postgresql://u:p%40%2F@h:5/n?sslmode=require"]
    + [f"postgresql+{driver}://u:p%40%2F@h:5/n?sslmode=require " for driver in ("psycopg", "psycopg2", "asyncpg")],
)
def test_postgresql_is_reached_by_psycopg_whatever_its_name(given: str) -> None:
    assert Settings(database_url=given).database == "postgresql+psycopg://u:p%40%2F@h:5/n?sslmode=require"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("GRAFT_PORT", "abc", "GRAFT_PORT=abc: Input should be a valid integer"),
        ("GRAFT_PORT", "65536", "GRAFT_PORT=65536: Input should be less than or equal to 65535"),
        ("GRAFT_CACHE_BYTES", "20GB", "GRAFT_CACHE_BYTES=20GB: "),
        ("GRAFT_LEASE_SECONDS", "nan", "GRAFT_LEASE_SECONDS=nan: "),
        ("GRAFT_LEASE_SECONDS", "inf", "GRAFT_LEASE_SECONDS=inf: "),
        ("GRAFT_DEVICE", "gpu", "GRAFT_DEVICE=gpu: "),
        ("GRAFT_DATABASE_URL", "mysql://u:secret@h/n", "GRAFT_DATABASE_URL: Graft has no use for mysql"),
        ("GRAFT_DATABASE_URL", "/var/graft.sqlite", "GRAFT_DATABASE_URL: no database URL, such as postgresql://"),
        ("GRAFT_DATABASE_URL", "postgres://u:secret@h:port/n", "/ is %2F"),
        ("GRAFT_DATABASE_URL", "postgres://u:secret@x@h/n", "@ is written %40"),
        ("GRAFT_DATABASE_URL", "sqlite://", "GRAFT_DATABASE_URL: this SQLite has no file"),
        ("GRAFT_DATABASE_URL", "sqlite:///:memory:", "GRAFT_DATABASE_URL: this SQLite has no file"),
        ("GRAFT_BROKER_URL", "http://:secret@h", "GRAFT_BROKER_URL: must be redis://"),
        ("GRAFT_BROKER_URL", "localhost:6379", "GRAFT_BROKER_URL: must be redis://"),
        ("GRAFT_STORAGE_URL", "file://srv/graft", "GRAFT_STORAGE_URL: the URL of a folder has three slashes"),
    ],
)
def test_a_malformed_setting_ends_the_process_in_one_line(
    environment: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        from_environment()
    message = str(ended.value.code)
    assert says in message
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("127.0.0.1 ", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_the_address_of_the_api_is_a_url(host: str, address: str) -> None:
    assert Settings(host=host).address == address


def test_a_file_url_may_be_escaped_and_what_lies_in_the_literal_folder_is_found(tmp_path: Path) -> None:
    for folder in ("a b", "c%20d"):
        (tmp_path / folder).mkdir()
    for url, folder in ((f"file://{tmp_path}/a%20b", "a b"), (f"file://{tmp_path}/c%20d", "c%20d")):
        with Storage(url).writing("x") as file:
            file.write(b"")
        assert (tmp_path / folder / "x").exists()


def test_a_relative_sqlite_is_that_of_the_current_folder(tmp_path: Path) -> None:
    migrations.upgrade(Settings(database_url="sqlite:///here.sqlite").database)
    with sqlite3.connect(tmp_path / "here.sqlite") as file:
        assert file.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    file.close()


def test_a_misspelled_variable_is_found_and_others_are_not(environment: pytest.MonkeyPatch) -> None:
    for name in ("GRAFT_PROT", "GRAFT_DEVISE", "GRAFT_BACKBONE", "GRAFT_URL", "GRAFT_MATERIAL", "GRAFT_PORT"):
        environment.setenv(name, "1")
    misspelled = {"GRAFT_PROT": "GRAFT_PORT", "GRAFT_DEVISE": "GRAFT_DEVICE", "GRAFT_BACKBONE": "GRAFT_BACKBONES"}
    assert find_misspelled() == misspelled
