"""Table of predictors; `service.tables` has all tables."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import Table, now


class Predictor(Table):
    """A predictor process. One that is silent for DEAD_SECONDS counts as dead."""

    __tablename__ = "predictors"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    address: Mapped[str]
    """URL at which it listens for the API."""
    secret: Mapped[str] = mapped_column(String(64))
    """Sent with each request; made at its start."""
    started_at: Mapped[float] = mapped_column(server_default=now())
    heartbeat_at: Mapped[float] = mapped_column(server_default=now())
