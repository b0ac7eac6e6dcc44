"""The database's tables. Times are Unix seconds by the database's own clock, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, LargeBinary, MetaData, String, case
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.functions import FunctionElement
from ulid import ULID

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


class now(FunctionElement[float]):  # noqa: N801 (an SQL function)
    """Unix seconds at this very moment, by the database's clock (not the transaction's start)."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


def new_id(prefix: str) -> str:
    """A fresh sortable id, such as job_01JD…"""
    return f"{prefix}_{ULID()}"


class Table(DeclarativeBase):
    """All tables; constraints are named by rule, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, float: Double, int: BigInteger}


class Leased:
    """Columns of what a worker claims. `attempt` is the fencing token: a write with an old one changes nothing."""

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Index, ...]:
        return (Index(None, "status", "lease_until"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[float | None]
    waits_until: Mapped[float | None]
    """Before this time nobody takes it up: what it needs was not there."""
    silent_worker: Mapped[str | None]
    """The worker that held it before, and died or stopped responding."""
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(server_default=now())
    finished_at: Mapped[float | None]

    @classmethod
    def claim_order(cls) -> tuple[ColumnElement[Any], ...]:
        """In which order what waits is taken."""
        return (cls.id.asc(),)

    @classmethod
    def requested_state(cls) -> ColumnElement[str]:
        """What whoever works on it looks at: its status, or more."""
        return cls.status.expression

    def release(self) -> None:
        """Nobody works on it any more."""
        self.worker = self.lease_until = None

    def wait(self, session: Session, seconds: float) -> None:
        """Nobody takes it up for so long."""
        self.waits_until = session.scalar(now()) + seconds

    def end(self, session: Session, status: str) -> None:
        """The work is over, now."""
        self.status = status
        self.finished_at = session.scalar(now())
        self.release()


class Dataset(Leased, Table):
    """Labelled images. validating → ready | failed."""

    __tablename__ = "datasets"

    name: Mapped[str]
    archive: Mapped[str | None]
    """Storage key of the upload; none once it is validated and dropped."""
    pack: Mapped[str | None]
    """Storage key of the accepted images, one after another."""
    index: Mapped[str | None]
    """Storage key of the pack's index."""
    task: Mapped[Literal["single_label", "multi_label"] | None] = mapped_column(String(16))
    """single_label or multi_label, known when ready."""
    classes: Mapped[list[Any]] = mapped_column(default=list)
    images: Mapped[int] = mapped_column(default=0)
    digest: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]


class Backbone(Leased, Table):
    """A backbone that can be named in a job. listed → inspecting → inspected | failed; its id is its name.

    Those of the sources timm and local are listed by a worker when it starts, those of hf once somebody asks for one.
    """

    __tablename__ = "backbones"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    source: Mapped[str] = mapped_column(String(16), index=True)
    architecture: Mapped[str | None]
    parameters: Mapped[int | None]
    input_size: Mapped[list[Any] | None]
    """(channels, height, width) of the backbone's own preprocessing."""
    licence: Mapped[str | None]
    inspection: Mapped[dict[str, Any] | None]
    """Stages and cuts with their costs, measured by a worker on first demand."""


class Job(Leased, Table):
    """One request to train. queued → running → succeeded | failed | cancelled; paused in between."""

    __tablename__ = "jobs"

    name: Mapped[str | None]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    backbone: Mapped[str] = mapped_column(index=True)
    recipe: Mapped[dict[str, Any]]
    """As asked for until a worker resolved it; then with no "auto" left."""
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
    """What the training doctor found."""
    cache: Mapped[dict[str, Any] | None]
    """Hits and misses of the feature cache, and the seconds that the hits saved."""
    priority: Mapped[int] = mapped_column(default=0)
    """Those with more are taken first."""
    is_stopping: Mapped[bool] = mapped_column(default=False)
    """Somebody wants what is best so far."""
    started_at: Mapped[float | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the newest event; raised under the row's lock, so events have no gaps."""

    @classmethod
    def claim_order(cls) -> tuple[ColumnElement[Any], ...]:
        """In which order what waits is taken."""
        return (cls.priority.desc(), cls.id.asc())

    @classmethod
    def requested_state(cls) -> ColumnElement[str]:
        """Its status, or stopping."""
        return case((cls.is_stopping & (cls.status == "running"), "stopping"), else_=cls.status)


class Event(Table):
    """Something that happened to a job, numbered without gaps."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[float] = mapped_column(server_default=now())
    level: Mapped[str] = mapped_column(String(8))
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class Epoch(Table):
    """The metrics of one epoch of a job."""

    __tablename__ = "epochs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    view: Mapped[int]
    train_loss: Mapped[float]
    train_accuracy: Mapped[float]
    validation_loss: Mapped[float]
    validation_accuracy: Mapped[float]
    lr: Mapped[float]
    seconds: Mapped[float]
    cache_hits: Mapped[int]
    cache_misses: Mapped[int]


class Tensor(Table):
    """The bytes of one tensor, by content: what many checkpoints share is kept once."""

    __tablename__ = "tensors"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the bytes, in hex."""
    bytes: Mapped[int]
    touched_at: Mapped[float] = mapped_column(server_default=now())
    """When a writer last counted on it; only what is older than the grace is collected."""


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
    """Which tensor stands at which place of a checkpoint's file."""

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
    """What the workers that share one feature cache have said of it."""

    __tablename__ = "caches"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str]
    folder: Mapped[str]
    bytes: Mapped[int]
    budget_bytes: Mapped[int]
    hits: Mapped[int] = mapped_column(default=0)
    """Of jobs that have succeeded: rows read, rows computed, and the seconds that the rows read had once cost."""
    misses: Mapped[int] = mapped_column(default=0)
    saved_seconds: Mapped[float] = mapped_column(default=0.0)
    is_emptying: Mapped[bool] = mapped_column(default=False)
    """Somebody wants it empty, and no worker has done so yet."""
    reported_at: Mapped[float] = mapped_column(server_default=now())


class IdempotencyKey(Table):
    """What a caller's Idempotency-Key has made, and of which request."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request's address and body, in hex."""
    resource: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(server_default=now())
