"""The database's tables. Times are Unix seconds by the database's own clock, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, LargeBinary, String, case, exists, type_coerce
from sqlalchemy.orm import Mapped, mapped_column

from service.backbones.tables import Backbone as Backbone
from service.backbones.tables import BackboneEvent as BackboneEvent
from service.backbones.tables import Listing as Listing
from service.backbones.tables import Worker as Worker
from service.batch_predictions.tables import BatchEvent as BatchEvent
from service.batch_predictions.tables import BatchModel as BatchModel
from service.batch_predictions.tables import BatchPart as BatchPart
from service.batch_predictions.tables import BatchPrediction as BatchPrediction
from service.checkpoints.tables import DeletedCheckpoint as DeletedCheckpoint
from service.checkpoints.tables import ImagePredictions as ImagePredictions
from service.checkpoints.tables import PredictionStatistics as PredictionStatistics
from service.exports.tables import Export as Export
from service.jobs.tables import Candidate as Candidate
from service.jobs.tables import Crash as Crash
from service.jobs.tables import Epoch as Epoch
from service.jobs.tables import Event as Event
from service.jobs.tables import JobBackbone as JobBackbone
from service.jobs.tables import Trial as Trial
from service.keys.tables import ApiKey as ApiKey
from service.models.tables import Model as Model
from service.models.tables import ModelMove as ModelMove
from service.predictions.tables import Predictor as Predictor
from service.recommendations.tables import Recommendation as Recommendation
from service.recommendations.tables import RecommendationCandidate as RecommendationCandidate
from service.recommendations.tables import RecommendationEvent as RecommendationEvent
from service.statuses import DatasetStatus, JobStatus
from service.table_base import CompressedJson, Leased, status_type
from service.table_base import Table as Table
from service.table_base import new_id as new_id
from service.table_base import now as now
from service.types import DatasetTask
from service.uploads.tables import Upload as Upload
from service.uploads.tables import UploadPart as UploadPart

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    task: Mapped[DatasetTask | None] = mapped_column(String(16))
    classes: Mapped[list[Any]] = mapped_column(default=list)
    images: Mapped[int] = mapped_column(default=0)
    digest: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]


class Job(Leased, Table):
    """One request to train. queued → running → succeeded | failed | cancelled; paused in between."""

    __tablename__ = "jobs"

    status: Mapped[JobStatus] = mapped_column(status_type(JobStatus))
    name: Mapped[str | None]
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    backbone: Mapped[str] = mapped_column(index=True)
    """The one that is trained; of several (JobBackbone), that of the best candidate so far, or the first."""
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
    publish: Mapped[dict[str, Any] | None]
    """The name that its checkpoint gets, and when (service/models/publishing.py)."""
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
        """Build the SQL of whether a worker can load all of the job's backbones."""
        lacks = ~Listing.has(worker, JobBackbone.backbone.expression)
        return Listing.has(worker, cls.backbone.expression) & ~exists().where(JobBackbone.job_id == cls.id, lacks)

    @classmethod
    def names(cls, backbones: Sequence[str]) -> ColumnElement[bool]:
        """Build the SQL of whether a job names one of these backbones."""
        of_several = exists().where(JobBackbone.job_id == cls.id, JobBackbone.backbone.in_(backbones))
        return cls.backbone.in_(backbones) | of_several

    @classmethod
    def requested_state(cls) -> ColumnElement[str]:
        """Build the SQL of what the worker that holds it is asked to do: its status, or to stop."""
        is_stopping = cls.is_stopping & (cls.status == JobStatus.RUNNING)
        return case((is_stopping, "stopping"), else_=type_coerce(cls.status, String))


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


class Trunk(Table):
    """Tensors that fine-tunes of one backbone share, as headers describe them."""

    __tablename__ = "trunks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of `header` and of the tensors' digests, in hex."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the tensors with their names, types and shapes, in hex."""
    header: Mapped[bytes] = mapped_column(LargeBinary)
    """Shared metadata and tensors, packed."""


class TrunkTensor(Table):
    """A tensor of a trunk, by its position among them."""

    __tablename__ = "trunk_tensors"

    trunk_id: Mapped[str] = mapped_column(ForeignKey("trunks.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(ForeignKey("tensors.digest"), index=True)


class Checkpoint(Table):
    """A result of a job, stored by content: its file is a header, and then its tensors in order."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    """best, last or improved."""
    epoch: Mapped[int]
    metrics: Mapped[dict[str, Any]] = mapped_column("packed_metrics", CompressedJson, nullable=True)
    classes: Mapped[list[Any]]
    trunk_id: Mapped[str] = mapped_column(ForeignKey("trunks.id"), index=True, nullable=True)
    """Never null, as head_bytes and head_digest: SQLite adds only columns that may be."""
    header: Mapped[bytes] = mapped_column(LargeBinary)
    """Its own metadata and tensors, packed."""
    bytes: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the whole file, in hex."""
    head_bytes: Mapped[int] = mapped_column(nullable=True)
    """Size of the file of its own tensors alone."""
    head_digest: Mapped[str] = mapped_column(String(64), nullable=True)
    """SHA-256 of that file, in hex."""
    created_at: Mapped[float] = mapped_column(server_default=now())

    @classmethod
    def order_best_first(cls) -> tuple[ColumnElement[Any], ...]:
        """Build the order of a job's checkpoints: the best, and then the latest epochs."""
        return cls.kind != "best", cls.epoch.desc(), cls.id.asc()

    def name_file(self, suffix: str) -> str:
        """Name a file of the checkpoint after its job, its kind and, where a job has several of a kind, its epoch."""
        which = f"{self.kind}-{self.epoch}" if self.kind == "improved" else self.kind
        return f"{self.job_id}-{which}.{suffix}"


class CheckpointTensor(Table):
    """A tensor of a checkpoint that its trunk has not, by its position among them."""

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
