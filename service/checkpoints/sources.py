"""Python source of a checkpoint's network, which its file holds in its metadata where no library builds the network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.checkpoints import blobs

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.tables import Checkpoint


@dataclass(frozen=True)
class Source:
    """Source that builds the network with torch alone."""

    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256, in hex."""
        return hashlib.sha256(self.content).hexdigest()


def read_source(session: Session, checkpoint: Checkpoint) -> Source | None:
    """Read the source of a checkpoint's network; None if a library builds it."""
    metadata = blobs.read_metadata(session, checkpoint)
    return Source(metadata["python"].encode()) if "python" in metadata else None
