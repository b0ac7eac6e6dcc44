"""Attempts at imports: files are named once they are stored, the upload is kept as long as it can be needed."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.backbones import imports, repository
from service.backbones.options import ImportOptions
from service.storage import Storage
from service.tables import Backbone
from tests.support.broken_database import broken_commits
from tests.support.import_work import CONFIG
from tests.support.uploads import add_upload, list_import_events
from workers.lease import LeaseLost, claim
from workers.supervisor import Supervisor
from workers.work.importing import ImportAttempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings


class Scripted(ImportAttempt):
    """An attempt whose child does as the file says."""

    module = "tests.support.import_work"


def run(database: Database, settings: Settings, kind: type[ImportAttempt] = Scripted) -> Backbone:
    """Claim the upload and run an attempt at its import; gives the row afterwards."""
    with database.writing() as session:
        held = claim(session, Backbone, "importing", "importing", "w", 60)
    assert held is not None
    Supervisor(database, settings, held, kind(database, settings, held), threading.Event()).run()
    with database.reading() as session:
        return session.get_one(Backbone, held.id)


def stored(settings: Settings) -> dict[str, bytes]:
    """The files of backbones in the storage."""
    folder = settings.data / "storage"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kinds(database: Database, backbone: str) -> list[str]:
    """Kinds of the events of an import."""
    return [event.kind for event in list_import_events(database, backbone)]


def test_an_import_names_its_files_and_drops_the_upload(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"ready", samples=b"of cats")
    row = run(database, settings)
    assert (row.status, row.worker, row.error, row.upload, row.samples) == ("ready", None, None, None, None)
    assert (row.architecture, row.parameters, row.multiply_adds) == ("graph", 7, 5)
    assert (row.input_size, row.licence, row.format) == ([3, 32, 32], "mit", "onnx")
    assert row.import_report is not None
    assert row.import_report["notes"] == ["samples: of cats"]
    with database.reading() as session:
        files = repository.find_files(session, backbone)
        assert imports.find_file_keys(session) == {files["config.json"]["key"]}
    assert stored(settings) == {files["config.json"]["key"]: CONFIG}
    assert kinds(database, backbone) == ["uploaded", "started", "progress", "ready"]
    assert not list(settings.scratch.glob("*"))


def test_an_upload_is_kept_while_it_waits_for_its_preprocessing(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"preprocessing")
    row = run(database, settings)
    assert (row.status, row.error) == ("failed", {"code": "preprocessing_needed", "message": f"Say it to /{backbone}."})
    assert set(stored(settings)) == {row.upload}
    given = ImportOptions.model_validate({"preprocessing": {"mean": [0, 0, 0]}})
    with database.writing() as session:
        imports.answer(session, backbone, given, None)
    row = run(database, settings)
    assert (row.status, row.upload) == ("ready", None)
    assert list(stored(settings).values()) == [CONFIG]
    assert kinds(database, backbone) == [
        *("uploaded", "started", "progress", "failed"),
        *("answered", "started", "progress", "ready"),
    ]


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        (b"broken", "file_broken", "truncated"),
        (b"abort", "killed_by_signal", "SIGABRT. A library that reads such files crashed on this one"),
        (b"escape", "file_unsafe", "took it over"),
        (b"link", "file_unsafe", "took it over"),
    ],
)
def test_a_file_that_gives_no_backbone_fails_and_is_dropped(
    database: Database, settings: Settings, what: bytes, code: str, says: str
) -> None:
    add_upload(database, settings.storage, what)
    row = run(database, settings)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == code
    assert says in row.error["message"]
    assert stored(settings) == {}


def test_a_crash_of_the_file_s_own_making_is_not_tried_again(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"abort")
    row = run(database, settings)
    assert (row.status, row.attempt, row.crashes) == ("failed", 1, 1)
    assert kinds(database, backbone)[-1] == "failed"


def test_an_import_whose_workers_keep_dying_fails(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"ready")
    for _ in range(settings.max_crashes):
        with database.writing() as session:
            assert claim(session, Backbone, "importing", "importing", "w", -1) is not None
    row = run(database, settings)
    assert (row.status, row.error and row.error["code"]) == ("failed", "worker_died")
    assert kinds(database, backbone) == ["uploaded", "failed"]


def test_a_dead_worker_s_import_is_done_by_the_next(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"ready")
    with database.writing() as session:
        assert claim(session, Backbone, "importing", "importing", "dead", -1) is not None
    row = run(database, settings)
    assert (row.status, row.attempt) == ("ready", 2)
    events = list_import_events(database, backbone)
    assert [event.kind for event in events] == ["uploaded", "crashed", "started", "progress", "ready"]
    assert events[1].data == {"cause": "worker_died", "attempt": 1, "worker": "dead"}


def test_a_file_that_is_missing_in_the_storage_is_reported(database: Database, settings: Settings) -> None:
    backbone = add_upload(database, settings.storage, b"ready")
    Storage(settings.storage).delete(f"{imports.get_folder(backbone)}/upload")
    row = run(database, settings, ImportAttempt)
    assert (row.status, row.error and row.error["code"]) == ("failed", "upload_missing")


def test_files_whose_naming_is_not_committed_are_left_to_the_sweep(database: Database, settings: Settings) -> None:
    class Robbed(Scripted):
        def record(self, session: Session, row: Backbone, lines: list[bytes]) -> bool:
            if super().record(session, row, lines):
                raise LeaseLost("before the commit")
            return False

    backbone = add_upload(database, settings.storage, b"ready")
    row = run(database, settings, Robbed)
    assert (row.status, row.files) == ("importing", None)
    folder = imports.get_folder(backbone)
    assert set(stored(settings)) == {f"{folder}/upload", f"{folder}/1/config.json"}
    with database.writing() as session:
        session.execute(text("UPDATE backbones SET lease_until = 1"))
    assert run(database, settings).status == "ready"
    assert set(stored(settings)) == {f"{folder}/1/config.json", f"{folder}/2/config.json"}


def test_a_commit_that_fails_is_written_again(database: Database, settings: Settings) -> None:
    class WithBrokenCommit(Scripted):
        def prepare(self, lines: list[bytes]) -> None:
            super().prepare(lines)
            if lines and b"imported" in lines[-1]:
                breaking.enter_context(broken_commits(database, 1, lambda: kept.append(len(stored(settings)))))

    kept: list[int] = []
    add_upload(database, settings.storage, b"ready")
    with ExitStack() as breaking:
        row = run(database, settings, WithBrokenCommit)
    assert row.status == "ready"
    assert kept == [2]
    assert list(stored(settings).values()) == [CONFIG]
