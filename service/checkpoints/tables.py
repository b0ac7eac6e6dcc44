"""Tables of what is kept beside checkpoints, and of deleted ones; `service.tables` has all tables."""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import Table, now


class PredictionStatistics(Table):
    """Prediction statistics of a checkpoint, for its prediction sets and novelty; older checkpoints have none."""

    __tablename__ = "prediction_statistics"

    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """A few kilobytes that models/evaluation/prediction_statistics.py reads."""


class ImagePredictions(Table):
    """A checkpoint's predictions for the validation and test images of its job; older checkpoints have none."""

    __tablename__ = "image_predictions"

    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """At most 61 bytes an image, that models/evaluation/image_predictions.py describes."""


class DeletedCheckpoint(Table):
    """A checkpoint that was deleted, as far as the lineage of others needs it."""

    __tablename__ = "deleted_checkpoints"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    """Its job, which may be deleted too."""
    kind: Mapped[str] = mapped_column(String(8))
    epoch: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of its file, in hex."""
    backbone: Mapped[str]
    dataset_id: Mapped[str] = mapped_column(String(40))
    dataset_digest: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float]
    deleted_at: Mapped[float] = mapped_column(server_default=now())
    deleted_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request deleted it; null where none was asked for, and where a setting did."""
