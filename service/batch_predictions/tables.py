"""Tables of batch predictions, their models, stored parts and events; `service.tables` has all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, String, delete
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import LogEntry, QueuedWork, Table

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class BatchEvent(LogEntry, Table):
    """An entry of the log of a batch prediction, numbered without gaps."""

    __tablename__ = "batch_prediction_events"
    owner = "prediction_id"

    prediction_id: Mapped[str] = mapped_column(ForeignKey("batch_predictions.id", ondelete="CASCADE"), primary_key=True)


class BatchPrediction(QueuedWork):
    """Predictions for every image of a dataset. queued → running → succeeded | failed | cancelled."""

    __tablename__ = "batch_predictions"
    noun = "Prediction"
    log = BatchEvent

    name: Mapped[str | None]
    top_k: Mapped[int]
    coverage: Mapped[float]
    images: Mapped[int]
    """Images of the dataset."""
    files: Mapped[dict[str, Any] | None]
    """The results: {format: {"key", "bytes", "digest"}}, with keys of the storage."""

    def end(self, session: Session, status: str) -> None:
        """Set a final status, release the lease, and forget the stored parts."""
        session.execute(delete(BatchPart).where(BatchPart.prediction_id == self.id))
        super().end(session, status)


class BatchModel(Table):
    """A model of a batch prediction, and the checkpoint that its name stood for."""

    __tablename__ = "batch_prediction_models"

    prediction_id: Mapped[str] = mapped_column(ForeignKey("batch_predictions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(String(255))
    """The name, or the id of the checkpoint, as the request has it."""
    checkpoint_id: Mapped[str] = mapped_column(String(40), index=True)
    """The checkpoint, which may be deleted once the prediction has ended."""


class BatchPart(Table):
    """Stored rows of a batch prediction that has not ended: those of consecutive images."""

    __tablename__ = "batch_prediction_parts"

    prediction_id: Mapped[str] = mapped_column(ForeignKey("batch_predictions.id", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Position of its first image in the dataset."""
    images: Mapped[int]
    errors: Mapped[int]
    """Images among them for which there are no predictions."""
    key: Mapped[str]
    """Storage key of the file, a line of JSON for each image."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the file, in hex."""
