"""Scratch folders: only those of running attempts are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.statuses import WorkStatus
from service.tables import Backbone, BatchPrediction
from tests.support.jobs import add_jobs, build_prediction, claim_job
from tests.support.uploads import add_upload
from workers import lease, scratch

if TYPE_CHECKING:
    from service.database import Database


def test_folders_of_ended_attempts_are_removed(database: Database, tmp_path: Path) -> None:
    add_jobs(database, 1)
    claim = claim_job(database)
    current, old = scratch.choose_folder(tmp_path, claim), tmp_path / f"{claim.id}.{claim.attempt + 1}"
    for folder in (current, old):
        folder.mkdir()
        (folder / "best.safetensors").touch()
    scratch.remove_orphans(database, tmp_path)
    assert list(tmp_path.glob("job_*")) == [current]


def test_folders_of_running_imports_are_kept(database: Database, tmp_path: Path) -> None:
    add_upload(database, str(tmp_path / "storage"), b"")
    with database.writing() as session:
        held = lease.claim(session, Backbone, "importing", "importing", "w", 60)
    assert held is not None
    current, old = scratch.choose_folder(tmp_path / "scratch", held), tmp_path / "scratch" / "bb_gone.1"
    for folder in (current, old):
        folder.mkdir(parents=True)
    scratch.remove_orphans(database, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == [current]


def test_folders_of_running_batch_predictions_are_kept(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        session.add(build_prediction("pred_1", WorkStatus.QUEUED))
    with database.writing() as session:
        held = lease.claim(session, BatchPrediction, "queued", "running", "w", 60)
    assert held is not None
    current = scratch.choose_folder(tmp_path / "scratch", held)
    for folder in (current, tmp_path / "scratch" / "pred_1.1"):
        folder.mkdir(parents=True)
    scratch.remove_orphans(database, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == [current]


def test_folders_of_predictors_are_kept_until_they_end(database: Database, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from service.locked_folder import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'model.safetensors').touch()\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().rstrip())
        scratch.remove_orphans(database, tmp_path)
        assert (folder / "model.safetensors").exists()
        process.kill()
    scratch.remove_orphans(database, tmp_path)
    assert list(tmp_path.glob("locked-*")) == []


def test_a_missing_scratch_folder_is_no_error(database: Database, tmp_path: Path) -> None:
    scratch.remove_orphans(database, tmp_path / "none")
