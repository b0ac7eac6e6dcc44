"""Tables of resumable uploads; `service.tables` has all tables."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import Table, now


class Upload(Table):
    """A file that is sent in pieces (tus). It is complete when `offset` is `bytes`, and then used once."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    bytes: Mapped[int | None]
    """Size of the whole file; null until the sender knows it."""
    offset: Mapped[int] = mapped_column(default=0)
    """Bytes that are in the storage for good; never more than its parts have."""
    details: Mapped[str] = mapped_column("metadata")
    """Upload-Metadata, as it was sent (the ORM keeps the name metadata for itself)."""
    writer: Mapped[str | None] = mapped_column(String(40))
    """The request that adds to it now; every write of another one changes nothing."""
    lease_until: Mapped[float | None]
    """Another request may add to it from then on, even if the writer has not ended."""
    used_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the dataset or backbone that was made of it."""
    created_at: Mapped[float] = mapped_column(server_default=now())
    expires_at: Mapped[float]
    """It is deleted from then on."""


class UploadPart(Table):
    """A piece of an upload that is in the storage."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Offset of its first byte in the file."""
    bytes: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    """Name of its file in the upload's folder of the storage."""
