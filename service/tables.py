"""The database's tables. Times are Unix seconds by the database's own clock, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, LargeBinary, String, case, exists, or_, type_coerce
from sqlalchemy.orm import Mapped, mapped_column

from service.statuses import BackboneStatus, DatasetStatus, JobStatus
from service.table_base import Leased, status_type
from service.table_base import Table as Table
from service.table_base import new_id as new_id
from service.table_base import now as now
from service.types import DatasetTask

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


class Dataset(Leased, Table):
    """Labelled images. validating → ready | failed."""

    __tablename__ = "datasets"

    status: Mapped[DatasetStatus] = mapped_column(status_type(DatasetStatus))
    name: Mapped[str]
    archive: Mapped[str | None]
    """Storage key of the upload; null once it is validated and deleted."""
    pack: Mapped[str | None]
    """Storage key of the accepted images, one after another."""
    index: Mapped[str | None]
    """Storage key of the pack's index."""
    skipped: Mapped[str | None]
    """Storage key of the list of files that are not used; null for datasets of earlier releases."""
    labels: Mapped[str] = mapped_column(String(8), default="auto", server_default="auto")
    """auto: as the archive gives them; none: all images are unlabelled."""
    task: Mapped[DatasetTask | None] = mapped_column(String(16))
    classes: Mapped[list[Any]] = mapped_column(default=list)
    images: Mapped[int] = mapped_column(default=0)
    digest: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]


HUB = "hf/"
"""How the names of the Hub's backbones begin: any worker can load them, and none lists them."""


class Worker(Table):
    """A worker process that has listed its backbones."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The name by which it claims."""
    alive_until: Mapped[float]
    """It counts as dead from then on, unless it reports again."""


class Listing(Table):
    """A backbone that a worker can load."""

    __tablename__ = "listings"

    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True)
    backbone: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)

    @classmethod
    def has(cls, worker: str, backbone: ColumnElement[str]) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load a backbone."""
        return or_(
            backbone.startswith(HUB, autoescape=True), exists().where(cls.worker_id == worker, cls.backbone == backbone)
        )


class Backbone(Leased, Table):
    """A backbone that can be named in a job. listed → inspecting → inspected | failed; its id is its name.

    Workers list those of the sources timm and local when they start; one of hf is listed on the first request for it.
    """

    __tablename__ = "backbones"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[BackboneStatus] = mapped_column(status_type(BackboneStatus))
    source: Mapped[str] = mapped_column(String(16), index=True)
    architecture: Mapped[str | None]
    parameters: Mapped[int | None]
    input_size: Mapped[list[Any] | None]
    """(channels, height, width) of the backbone's own preprocessing."""
    licence: Mapped[str | None]
    inspection: Mapped[dict[str, Any] | None]
    """Stages and cuts with their costs, measured by a worker on demand."""

    @classmethod
    def claimable_by(cls, worker: str) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load the backbone."""
        return Listing.has(worker, cls.id.expression)

    @property
    def name(self) -> str:
        """The id, under its other name in the API."""
        return self.id


class Job(Leased, Table):
    """One request to train. queued → running → succeeded | failed | cancelled; paused in between."""

    __tablename__ = "jobs"

    status: Mapped[JobStatus] = mapped_column(status_type(JobStatus))
    name: Mapped[str | None]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    backbone: Mapped[str] = mapped_column(index=True)
    recipe: Mapped[dict[str, Any]]
    """The requested recipe, until a worker has resolved it and no "auto" is left."""
    details: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """The caller's own labels (`metadata` in the API; the ORM keeps that name for itself)."""
    phase: Mapped[str | None] = mapped_column(String(16))
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any] | None]
    stop_reason: Mapped[str | None] = mapped_column(String(16))
    seconds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Seconds spent in each phase."""
    other_dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    """The dataset that the recipe's pretraining names."""
    diagnosis: Mapped[dict[str, Any] | None]
    """Findings of the training diagnostics."""
    cache: Mapped[dict[str, Any] | None]
    """Hits and misses of the feature cache, and the seconds that the hits saved."""
    priority: Mapped[int] = mapped_column(default=0)
    """Higher ones are claimed first."""
    is_stopping: Mapped[bool] = mapped_column(default=False)
    """A user has asked to stop, and keep the best epoch."""
    started_at: Mapped[float | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the newest event; incremented under the row's lock, so events have no gaps."""

    @classmethod
    def claim_order(cls) -> tuple[ColumnElement[Any], ...]:
        """Build the order in which waiting rows are claimed."""
        return (cls.priority.desc(), cls.id.asc())

    @classmethod
    def claimable_by(cls, worker: str) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load the job's backbone."""
        return Listing.has(worker, cls.backbone.expression)

    @classmethod
    def requested_state(cls) -> ColumnElement[str]:
        """Build the SQL of what the worker that holds it is asked to do: its status, or to stop."""
        is_stopping = cls.is_stopping & (cls.status == JobStatus.RUNNING)
        return case((is_stopping, "stopping"), else_=type_coerce(cls.status, String))


class _JobItem:
    """Base of rows that belong to a job and are numbered in it: their key, and their id in the API."""

    _number: ClassVar[str]
    """Name of the column of the number."""

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)

    @property
    def id(self) -> str:
        """The API's id, JOB.NUMBER."""
        return f"{self.job_id}.{getattr(self, self._number)}"


class Event(_JobItem, Table):
    """An entry of a job's log, numbered without gaps."""

    __tablename__ = "events"
    _number = "seq"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[float] = mapped_column(server_default=now())
    level: Mapped[str] = mapped_column(String(8))
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class Epoch(_JobItem, Table):
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


class Trial(_JobItem, Table):
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


class Crash(Table):
    """An attempt at a job that died."""

    __tablename__ = "crashes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cause: Mapped[str]


class Tensor(Table):
    """A tensor, stored by content: checkpoints that share it store it once."""

    __tablename__ = "tensors"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the bytes, in hex."""
    bytes: Mapped[int]
    touched_at: Mapped[float] = mapped_column(server_default=now())
    """Time when a writer last relied on it; only older ones than the grace period are collected."""


class Chunk(Table):
    """At most 1 MiB of a tensor, so that reads and writes stay small."""

    __tablename__ = "chunks"

    digest: Mapped[str] = mapped_column(ForeignKey("tensors.digest", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Checkpoint(Table):
    """A result of a job, stored by content: its file is a header, and then its tensors in order."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    """best or last."""
    epoch: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    classes: Mapped[list[Any]]
    header: Mapped[bytes] = mapped_column(LargeBinary)
    """The safetensors header with its length before it."""
    bytes: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the whole file, in hex."""
    created_at: Mapped[float] = mapped_column(server_default=now())


class CheckpointTensor(Table):
    """A tensor's position in a checkpoint's file."""

    __tablename__ = "checkpoint_tensors"

    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(ForeignKey("tensors.digest"), index=True)


class Snapshot(Table):
    """The newest training snapshot of a job that has not ended: a file in the storage."""

    __tablename__ = "snapshots"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str]
    """Storage key of the file."""
    bytes: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the file, in hex."""
    epoch: Mapped[int]
    """Finished epochs."""
    created_at: Mapped[float] = mapped_column(server_default=now())


class Cache(Table):
    """The feature cache of one machine, as its workers have reported it."""

    __tablename__ = "caches"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str]
    folder: Mapped[str]
    bytes: Mapped[int]
    budget_bytes: Mapped[int]
    hits: Mapped[int] = mapped_column(default=0)
    """Rows that successful jobs read; `misses`: computed; `saved_seconds`: those that computing the hits had taken."""
    misses: Mapped[int] = mapped_column(default=0)
    saved_seconds: Mapped[float] = mapped_column(default=0.0)
    is_emptying: Mapped[bool] = mapped_column(default=False)
    reported_at: Mapped[float] = mapped_column(server_default=now())

    @property
    def emptying(self) -> bool:
        """Name of `is_emptying`, a pending request to empty it, in the API."""
        return self.is_emptying


class IdempotencyKey(Table):
    """An Idempotency-Key of a caller: its request, and the resource that it created."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request's address and body, in hex."""
    resource: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(server_default=now())
