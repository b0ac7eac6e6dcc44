"""Tables of batch predictions, their models, stored parts and events; `service.tables` has all tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.statuses import PredictionStatus
from service.table_base import Leased, LogEntry, Table, status_type


class BatchPrediction(Leased, Table):
    """Predictions for every image of a dataset. queued → running → succeeded | failed | cancelled."""

    __tablename__ = "batch_predictions"

    status: Mapped[PredictionStatus] = mapped_column(status_type(PredictionStatus))
    name: Mapped[str | None]
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    dataset_id: Mapped[str] = mapped_column(String(40), index=True)
    """The dataset, which may be deleted once it has ended."""
    top_k: Mapped[int]
    coverage: Mapped[float]
    images: Mapped[int]
    """Images of the dataset."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    files: Mapped[dict[str, Any] | None]
    """The results: {format: {"key", "bytes", "digest"}}, with keys of the storage."""
    started_at: Mapped[float | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the newest event; incremented under the row's lock, so events have no gaps."""


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


class BatchEvent(LogEntry, Table):
    """An entry of the log of a batch prediction, numbered without gaps."""

    __tablename__ = "batch_prediction_events"

    prediction_id: Mapped[str] = mapped_column(ForeignKey("batch_predictions.id", ondelete="CASCADE"), primary_key=True)

    @property
    def id(self) -> str:
        """The API's id, PREDICTION.NUMBER."""
        return f"{self.prediction_id}.{self.seq}"
