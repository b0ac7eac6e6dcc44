"""Files of a backbone on this machine: those of an uploaded one, or of the checkpoint that a job goes on from."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from typing import TYPE_CHECKING

from service.backbones import repository as backbones
from service.backbones.tables import CHECKPOINT, UPLOADED
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.checkpoints.errors import CheckpointDamaged, CheckpointNotFound
from service.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
FOLDER = "backbone"
"""The folder in an attempt's folder."""


def fetch(database: Database, settings: Settings, name: str, scratch: Path, folder_name: str = FOLDER) -> Path | None:
    """Bring the files of the backbone of this name into a folder of the attempt; None for a backbone that a source has.

    Each is verified by its digest. Where one is missing or damaged, the folder is left empty: the child reports it.
    Raises StorageUnavailable, and OSError for a full disk.
    """
    folder = scratch / folder_name
    if not name.startswith((UPLOADED, CHECKPOINT)):
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if name.startswith(CHECKPOINT):
            _write_checkpoint(database, name, folder / WEIGHTS)
        else:
            _fetch_uploaded(database, Storage(settings.storage), name, folder)
    except (FileNotFoundError, CheckpointNotFound, CheckpointDamaged, _Damaged) as error:
        log.warning("the files of the backbone %s cannot be used: %s", name, error)
        shutil.rmtree(folder)
        folder.mkdir()
    return folder


class _Damaged(Exception):
    """A file differs from what was stored."""


def _fetch_uploaded(database: Database, storage: Storage, name: str, folder: Path) -> None:
    with database.reading() as session:
        files = backbones.find_files(session, name)
    for filename, file in files.items():
        path = storage.local_path(file["key"], folder)
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file["digest"]:
                raise _Damaged(f"{file['key']} was changed in the storage")
        if path.parent == folder:
            path.rename(folder / filename)
        else:
            _link(path, folder / filename)


def _link(path: Path, target: Path) -> None:
    """Link a file of this machine's storage, which is large; copy it where links cannot reach."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _write_checkpoint(database: Database, checkpoint_id: str, path: Path) -> None:
    """Write a checkpoint's file of its tensors in the database."""
    with database.reading() as session:
        checkpoint = checkpoints.get(session, checkpoint_id)
    blobs.copy_to_file(database, checkpoint, path)
