"""Scratch folders: only those of running attempts are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.jobs import add_jobs, claim_job
from workers import scratch

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_missing_scratch_folder_is_no_error(database: Database, tmp_path: Path) -> None:
    scratch.remove_orphans(database, tmp_path / "none")
