"""Exports that are ready, as a worker leaves them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.exports import repository
from service.exports.options import ExportOptions
from service.storage import Storage
from service.tables import Export

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.database import Database


def add_export(database: Database, storage: str, checkpoint: str, files: Mapping[str, bytes]) -> None:
    """Add the export of a checkpoint as a folder of the Hub, with these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with database.writing() as session:
        repository.request(session, checkpoint, "hub", ExportOptions())
        row = session.scalars(select(Export).where(Export.checkpoint_id == checkpoint)).one()
        key = f"exports/{row.id}/file"
        with Storage(storage).writing(key) as file:
            file.write(content.getvalue())
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        repository.accept(session, row, file=key, size=len(content.getvalue()), digest=digest, report={})
