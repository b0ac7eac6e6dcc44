"""Resumable uploads as JSON."""

from __future__ import annotations

from models.catalog.technique import StrictModel
from service import tables
from service.pagination import Identified
from service.types import Text, Timestamp
from service.uploads import tus


class UploadSource(StrictModel):
    """A resumable upload that is complete. A dataset or a backbone can be made of it once."""

    upload: Text
    """Its id, up_…"""


class Upload(Identified):
    """A file that is sent in pieces; complete when `offset` is `bytes`."""

    bytes: int | None
    """Size of the whole file; null until the sender tells it."""
    offset: int
    """Bytes that have come, and are in the storage."""
    metadata: dict[str, str]
    """What its sender says of it, such as its filename."""
    used_by: str | None
    """The dataset or backbone that was made of it."""
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    created_at: Timestamp
    expires_at: Timestamp
    """It is deleted then, unless it is added to."""

    @classmethod
    def from_row(cls, row: tables.Upload) -> Upload:
        """Build the JSON of a row."""
        return cls(
            id=row.id,
            bytes=row.bytes,
            offset=row.offset,
            metadata=tus.parse_metadata(row.details),
            used_by=row.used_by,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
