"""A worker as a whole: it stops when it is told to, and no error of its own leaves it deaf."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from service import tables
from service.database import Database
from service.settings import Settings
from service.storage import Storage
from tests.support.broken_database import broken_statements
from tests.support.small_backbone import write_backbone
from workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """Settings on a database of its own, with a local backbone."""
    write_backbone(tmp_path / "backbones" / "small")
    return Settings(data=tmp_path / "data", database_url=sqlite_url, backbones=tmp_path / "backbones")


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """A connection to the worker's database."""
    database = Database(settings.database)
    yield database
    database.close()


def wait_for(database: Database, query: object) -> None:
    """Wait until a query gives a row."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with database.reading() as session:
            if session.execute(query).first() is not None:  # type: ignore[call-overload]
                return
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def running(worker: Worker) -> Iterator[threading.Thread]:
    """Run a worker in a thread; the thread is to have ended at the end of the block, or soon after."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(WAIT_SECONDS)


@pytest.mark.extended
def test_errors_of_all_its_threads_do_not_make_it_deaf(
    settings: Settings, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with Storage(settings.storage).writing("datasets/ds_1/archive") as file:
        file.write(b"no archive")
    worker = Worker(settings)
    with broken_statements(worker.database, 30, KeyError("a fault of ours")), running(worker) as thread:
        until = time.monotonic() + WAIT_SECONDS
        while caplog.text.count("a fault of ours") < 30:
            assert time.monotonic() < until
            time.sleep(0.05)
        with db.writing() as session:
            archive = "datasets/ds_1/archive"
            session.add(tables.Dataset(id="ds_1", name="", status="validating", archive=archive, classes=[], images=0))
        wait_for(db, select(tables.Dataset).where(tables.Dataset.status == "failed"))
        wait_for(db, select(tables.Backbone).where(tables.Backbone.id == "local/small"))
        wait_for(db, select(tables.Worker).where(tables.Worker.id == worker.name))
    assert not thread.is_alive()
    assert not worker.has_failed
    with db.reading() as session:
        assert session.scalars(select(tables.Worker)).all() == [], "one that has ended is not waited for"


def test_a_dataset_passes_one_that_takes_long(settings: Settings, db: Database) -> None:
    for name in ("ds_1", "ds_2"):
        with Storage(settings.storage).writing(f"datasets/{name}/archive") as file:
            file.write(b"no archive")
    slow = settings.data / "storage" / "datasets" / "ds_1" / "archive"
    slow.unlink()
    os.mkfifo(slow)  # whoever opens it waits for a writer
    with db.writing() as session:
        for name in ("ds_1", "ds_2"):
            archive = f"datasets/{name}/archive"
            session.add(tables.Dataset(id=name, name="", status="validating", archive=archive, classes=[], images=0))
    with running(Worker(settings)) as thread:
        is_claimed = tables.Dataset.worker.is_not(None)
        wait_for(db, select(tables.Dataset).where(tables.Dataset.id == "ds_1", is_claimed))
        wait_for(db, select(tables.Dataset).where(tables.Dataset.id == "ds_2", tables.Dataset.status == "failed"))
        with db.reading() as session:
            assert session.get_one(tables.Dataset, "ds_1").status == "validating"
    assert not thread.is_alive()


def test_a_stop_that_comes_in_between_is_not_missed(settings: Settings) -> None:
    """Between the look whether to stop and the clearing of a wake-up that the stop itself has sent."""

    class StopInBetween(threading.Event):
        asked = False

        def is_set(self) -> bool:
            found = super().is_set()
            if threading.current_thread().name == "datasets" and not self.asked:
                self.asked = True
                worker.stop()
            return found

    worker = Worker(settings)
    worker.stopping = StopInBetween()
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    worker.wake()
    thread.join(WAIT_SECONDS)
    assert not thread.is_alive()


@contextmanager
def process(settings: Settings, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program as a process of its own with these settings."""
    environment = {
        "GRAFT_DATA": str(settings.data),
        "GRAFT_DATABASE_URL": settings.database_url,
        "GRAFT_BACKBONES": str(settings.backbones),
        "PYTHONPATH": str(ROOT),
    }
    started = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


RUN = "import sys\nfrom workers.__main__ import main\n"


@pytest.mark.extended
def test_two_signals_in_a_row_stop_it(settings: Settings, db: Database) -> None:
    with process(settings, f"{RUN}sys.exit(main())") as started:
        wait_for(db, select(tables.Worker))
        for _ in range(2):
            started.send_signal(signal.SIGTERM)
        assert started.wait(WAIT_SECONDS) == 0
    with db.reading() as session:
        assert session.scalars(select(tables.Worker)).all() == []


@pytest.mark.extended
def test_it_ends_with_a_thread_that_ends_by_an_error(settings: Settings) -> None:
    fault = "import threading\nthreading.Timer(2.0, lambda: 1 / 0).start()\n"
    with process(settings, f"{RUN}{fault}sys.exit(main())") as started:
        _, log = started.communicate(timeout=WAIT_SECONDS)
    assert started.returncode == 1
    assert "the worker ends with it" in log
    assert "ZeroDivisionError" in log
