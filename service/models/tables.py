"""Tables of model names; `service.tables` has all tables."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import Table, now


class Model(Table):
    """A name that points at a checkpoint."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), index=True)
    created_at: Mapped[float] = mapped_column(server_default=now())


class ModelMove(Table):
    """An entry of a name's history: checkpoint, time and who it was. It stays when name or checkpoint are deleted."""

    __tablename__ = "model_moves"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """1, 2, … without gaps."""
    checkpoint: Mapped[str | None] = mapped_column(String(40))
    """Id of the checkpoint; null: the name was deleted."""
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request moved it, or made the job that did; null where none was asked for."""
    job: Mapped[str | None] = mapped_column(String(40))
    """Id of the job that published its checkpoint; null for a request."""
    created_at: Mapped[float] = mapped_column(server_default=now())

    @property
    def id(self) -> str:
        """The API's id, NAME.SEQ."""
        return f"{self.name}.{self.seq}"
