"""Table of exports; `service.tables` has all tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.statuses import ExportStatus
from service.table_base import Leased, Table, status_type


class Export(Leased, Table):
    """A checkpoint in another format. exporting → ready | failed."""

    __tablename__ = "exports"
    __table_args__ = (Index(None, "status", "lease_until"), Index(None, "checkpoint_id", "variant", unique=True))

    status: Mapped[ExportStatus] = mapped_column(status_type(ExportStatus))
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"))
    format: Mapped[str] = mapped_column(String(16))
    variant: Mapped[str] = mapped_column(String(255))
    """Format and options in one word: the same request finds the same export."""
    options: Mapped[dict[str, Any]]
    file: Mapped[str | None]
    """Storage key of the file."""
    bytes: Mapped[int | None]
    digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the file, in hex."""
    report: Mapped[dict[str, Any] | None]
    """What was measured of the file in its own runtime."""
