"""Every query about the snapshots of pretrainings: a column that names a backbone's newest file in the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service.backbones import imports
from service.tables import Backbone

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Snapshot(NamedTuple):
    """The newest snapshot of a pretraining that has not ended."""

    key: str
    """Storage key of the file."""
    bytes: int
    digest: str
    """SHA-256 of the file, in hex."""
    epoch: int
    """Finished epochs."""


def make_key(backbone_id: str, attempt: int, number: int) -> str:
    """Make the storage key of the snapshot `number` of an attempt: no two snapshots ever share one."""
    return f"{imports.get_folder(backbone_id)}/snapshot.{attempt}.{number}.safetensors"


def find(session: Session, backbone_id: str) -> Snapshot | None:
    """Find the backbone's newest snapshot, if it has one."""
    backbone = session.get(Backbone, backbone_id)
    return None if backbone is None or backbone.snapshot is None else Snapshot(**backbone.snapshot)


def replace(session: Session, backbone_id: str, *, key: str, size: int, digest: str, epoch: int) -> None:
    """Make a file in the storage the backbone's newest snapshot, in the caller's fenced transaction."""
    session.get_one(Backbone, backbone_id).snapshot = Snapshot(key, size, digest, epoch)._asdict()
