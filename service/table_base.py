"""Base of all tables: naming of constraints, ids, the database's clock, and the columns of leases and logs."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    Enum,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    true,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.functions import FunctionElement
from ulid import ULID

from service.statuses import WorkStatus

if TYPE_CHECKING:
    from enum import StrEnum

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


class CompressedJson(TypeDecorator[dict[str, Any]]):
    """JSON of many rows that is long and never queried, such as a confusion matrix."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Any) -> bytes | None:
        """Compress a value."""
        return None if value is None else zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)

    def process_result_value(self, value: bytes | None, dialect: Any) -> dict[str, Any] | None:
        """Decompress a value."""
        if value is None:
            return None
        decompressed: dict[str, Any] = json.loads(zlib.decompress(value))
        return decompressed


def new_id(prefix: str) -> str:
    """Make a sortable id, such as job_01JD…"""
    return f"{prefix}_{ULID()}"


class Table(DeclarativeBase):
    """Base class of all tables; constraints are named by rule, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, float: Double, int: BigInteger}


def status_type(states: type[StrEnum]) -> Enum:
    """Column type of a status: a string in the database, a member of `states` in Python."""
    return Enum(states, values_callable=_list_values, native_enum=False, length=16)


def _list_values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]  # plain strings: a generated migration spells their repr


class Leased:
    """Columns of what a worker claims. `attempt` is the fencing token: a write with an old one changes nothing."""

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Index, ...]:
        return (Index(None, "status", "lease_until"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    status: Mapped[Any]
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    batches: Mapped[int] = mapped_column(default=0, server_default="0")
    """Batches of its child's events that this attempt has recorded."""
    worker: Mapped[str | None]
    lease_until: Mapped[float | None]
    waits_until: Mapped[float | None]
    """No worker claims it before this time: something that it needs was missing."""
    silent_worker: Mapped[str | None]
    """Worker of the previous attempt, if that worker let its lease expire."""
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(server_default=now())
    finished_at: Mapped[float | None]

    @classmethod
    def claim_order(cls) -> tuple[ColumnElement[Any], ...]:
        """Build the order in which waiting rows are claimed."""
        return (cls.id.asc(),)

    @classmethod
    def claimable_by(cls, worker: str) -> ColumnElement[bool]:
        """Build the SQL of whether a worker has what it needs to work on the row."""
        return true()

    @classmethod
    def requested_state(cls) -> ColumnElement[str]:
        """Build the SQL of what the worker that holds it is asked to do: its status, or more."""
        return type_coerce(cls.status, String)

    def release(self) -> None:
        """Release the lease: no worker holds the row."""
        self.worker = self.lease_until = None

    def wait(self, session: Session, seconds: float) -> None:
        """Keep workers from claiming it for `seconds`."""
        self.waits_until = session.scalar(now()) + seconds

    def end(self, session: Session, status: str) -> None:
        """Set a final status, and release the lease."""
        self.status = status
        self.finished_at = session.scalar(now())
        self.release()


class LogEntry:
    """Columns of an entry of a log; its table adds whose log it is."""

    owner: ClassVar[str]
    """Name of the column of whose log it is."""

    # After the owner's column in the key: entries are read by owner, in order.
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, sort_order=1)
    time: Mapped[float] = mapped_column(server_default=now(), sort_order=2)
    level: Mapped[str] = mapped_column(String(8), sort_order=3)
    kind: Mapped[str] = mapped_column(String(32), sort_order=4)
    message: Mapped[str] = mapped_column(sort_order=5)
    data: Mapped[dict[str, Any]] = mapped_column(sort_order=6)

    @property
    def id(self) -> str:
        """The API's id, OWNER.NUMBER."""
        return f"{getattr(self, self.owner)}.{self.seq}"


class QueuedWork(Leased, Table):
    """Base of the tables of work on a dataset that waits in a queue: `queued_work` has its transitions."""

    __abstract__ = True

    noun: ClassVar[str]
    """What messages call it."""
    log: ClassVar[type[LogEntry]]
    """Table of its events."""

    status: Mapped[WorkStatus] = mapped_column(status_type(WorkStatus))
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key whose request made it; null where none was asked for."""
    dataset_id: Mapped[str] = mapped_column(String(40), index=True)
    """The dataset, which may be deleted once it has ended."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[float | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the newest event; incremented under the row's lock, so events have no gaps."""
