"""Tables of what a job has: log, backbones, epochs, trials, candidates and crashes; `service.tables` has all tables."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import LogEntry, Table


class JobItem:
    """Base of rows that belong to a job and are numbered in it: their key, and their id in the API."""

    _number: ClassVar[str]
    """Name of the column of the number."""

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)

    @property
    def id(self) -> str:
        """The API's id, JOB.NUMBER."""
        return f"{self.job_id}.{getattr(self, self._number)}"


class JobBackbone(Table):
    """A backbone of a job that names several; a job that names one has none of these rows."""

    __tablename__ = "job_backbones"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    backbone: Mapped[str] = mapped_column(String(255), index=True)


class Event(JobItem, LogEntry, Table):
    """An entry of a job's log, numbered without gaps."""

    __tablename__ = "events"
    _number = "seq"
    owner = "job_id"


class Epoch(JobItem, Table):
    """Metrics of one epoch of a job."""

    __tablename__ = "epochs"
    _number = "epoch"

    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    view: Mapped[int]
    train_loss: Mapped[float]
    train_accuracy: Mapped[float]
    validation_loss: Mapped[float]
    validation_accuracy: Mapped[float]
    validation_balanced_accuracy: Mapped[float | None]
    lr: Mapped[float]
    seconds: Mapped[float]
    cache_hits: Mapped[int]
    cache_misses: Mapped[int]


class Trial(JobItem, Table):
    """A head that a job's search has tried, with the metrics of its best epoch."""

    __tablename__ = "trials"
    _number = "rank"

    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 is the best."""
    lr: Mapped[float]
    l2: Mapped[float]
    dropout: Mapped[float]
    epoch: Mapped[int]
    epochs: Mapped[int]
    validation_loss: Mapped[float | None]
    validation_accuracy: Mapped[float]


class Candidate(JobItem, Table):
    """A recipe that a job with a `quality` has tried or left out."""

    __tablename__ = "candidates"
    _number = "number"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """1, 2, … in the order in which they were tried."""
    name: Mapped[str] = mapped_column(String(64))
    backbone: Mapped[str] = mapped_column(String(255), nullable=True)
    """Never null: SQLite adds only columns that may be."""
    recipe: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    """Why it was left out; None where it was tried."""
    is_better: Mapped[bool]
    """True if it is better than all before it; the last such one is delivered."""
    validation_accuracy: Mapped[float | None]
    validation_loss: Mapped[float | None]
    validation_images: Mapped[int | None]
    epochs: Mapped[int | None]
    seconds: Mapped[float]
    checkpoint_bytes: Mapped[int | None]
    seconds_per_image: Mapped[float | None]


class Crash(Table):
    """An attempt at a job that died."""

    __tablename__ = "crashes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cause: Mapped[str]
