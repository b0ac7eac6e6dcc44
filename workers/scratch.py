"""Scratch folders: one on this machine for each attempt at a job, named after it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.tables import Job

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from workers.lease import Claim


def choose_folder(scratch: Path, claim: Claim[Job]) -> Path:
    """Name the attempt's folder."""
    return scratch / f"{claim.id}.{claim.attempt}"


def remove_orphans(database: Database, scratch: Path) -> None:
    """Remove the folders of attempts that have ended."""
    # Folders are listed first: an attempt is claimed before its folder is made.
    folders = list(scratch.glob("*")) if scratch.exists() else []
    with database.reading() as session:
        held = session.execute(select(Job.id, Job.attempt).where(Job.lease_until.is_not(None)))
        current = {f"{job}.{attempt}" for job, attempt in held}
    for path in folders:
        if path.name not in current:
            shutil.rmtree(path, ignore_errors=True)
