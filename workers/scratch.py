"""Scratch folders: one on this machine for each attempt that needs files, named after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, union_all

from service.locked_folder import remove_unlocked
from service.tables import Backbone, BatchPrediction, Export, Job, Recommendation

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from workers.lease import Claim, Row


def choose_folder(scratch: Path, claim: Claim[Row]) -> Path:
    """Name the attempt's folder."""
    return scratch / f"{claim.id}.{claim.attempt}"


def remove_orphans(database: Database, scratch: Path) -> None:
    """Remove the folders of attempts and of predictors that have ended."""
    # Folders are listed first: an attempt is claimed before its folder is made.
    folders = list(scratch.glob("*")) if scratch.exists() else []
    with database.reading() as session:
        tables = (Job, Backbone, Export, BatchPrediction, Recommendation)
        held = (select(table.id, table.attempt).where(table.lease_until.is_not(None)) for table in tables)
        current = {f"{name}.{attempt}" for name, attempt in session.execute(union_all(*held))}
    for path in folders:
        if path.name not in current:
            remove_unlocked(path)
