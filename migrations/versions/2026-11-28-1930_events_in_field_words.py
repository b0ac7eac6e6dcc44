"""Trials and crashes in tables of their own; event kinds and keys in the field's words; head.start lda

Messages of events and headers of checkpoints stay as they were written.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BATCH = 500
"""Rows that are read, and held in memory, at once."""

KINDS = {
    "batch_halved": "micro_batches",
    "first_head": "lda_initialized",
    "views_left_out": "views_limited",
    "taken_up": "resumed_from_snapshot",
    "not_secured": "snapshot_failed",
    "handed_back": "drained",
}

METRICS = ("lr", "l2", "dropout", "epoch", "epochs", "validation_loss", "validation_accuracy")

events = sa.table("events", *(sa.column(name) for name in ("job_id", "seq", "kind")), sa.column("data", sa.JSON))
jobs = sa.table("jobs", sa.column("id"), sa.column("recipe", sa.JSON))
trials = sa.table("trials", *(sa.column(name) for name in ("job_id", "rank", *METRICS)))
crashes = sa.table("crashes", *(sa.column(name) for name in ("job_id", "attempt", "cause")))


def upgrade() -> None:
    _create_tables()
    _rename_kinds(KINDS)
    _rename_heads("discriminant", "lda")
    for job_id, seq, data in _read_events("pretraining"):
        _write_data(job_id, seq, _rename_key(data, "pictures", "images"))
    for job_id, seq, data in _read_events("searched"):
        op.execute(trials.delete().where(trials.c.job_id == job_id))  # the newest search counts
        op.bulk_insert(trials, [{"job_id": job_id, "rank": rank, **row} for rank, row in enumerate(data["trials"])])
        _write_data(job_id, seq, {})
    dead = {(job_id, data["attempt"]): data["cause"] for job_id, _, data in _read_events("crashed")}
    rows = [{"job_id": job_id, "attempt": attempt, "cause": cause} for (job_id, attempt), cause in dead.items()]
    op.bulk_insert(crashes, rows)


def downgrade() -> None:
    for job_id, seq, _ in _read_events("searched"):
        rows = op.get_bind().execute(sa.select(trials).where(trials.c.job_id == job_id).order_by(trials.c.rank))
        _write_data(job_id, seq, {"trials": [{name: row[name] for name in METRICS} for row in rows.mappings()]})
    for job_id, seq, data in _read_events("pretraining"):
        _write_data(job_id, seq, _rename_key(data, "images", "pictures"))
    _rename_heads("lda", "discriminant")
    _rename_kinds({new: old for old, new in KINDS.items()})
    op.drop_table("crashes")
    op.drop_table("trials")


def _create_tables() -> None:
    op.create_table(
        "trials",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("rank", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lr", sa.Double(), nullable=False),
        sa.Column("l2", sa.Double(), nullable=False),
        sa.Column("dropout", sa.Double(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("epochs", sa.BigInteger(), nullable=False),
        sa.Column("validation_loss", sa.Double(), nullable=True),
        sa.Column("validation_accuracy", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_trials_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "rank", name="pk_trials"),
    )
    op.create_table(
        "crashes",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_crashes_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="pk_crashes"),
    )


def _rename_kinds(names: dict[str, str]) -> None:
    renamed = sa.case(*((events.c.kind == old, new) for old, new in names.items()))
    op.execute(events.update().where(events.c.kind.in_(names)).values(kind=renamed))


def _rename_heads(old: str, new: str) -> None:
    last = ""
    while True:
        query = sa.select(jobs).where(jobs.c.id > last).order_by(jobs.c.id).limit(BATCH)
        rows = op.get_bind().execute(query).all()
        for job_id, recipe in rows:
            head = recipe.get("head")
            if isinstance(head, dict) and head.get("start") == old:
                changed = {**recipe, "head": {**head, "start": new}}
                op.execute(jobs.update().where(jobs.c.id == job_id).values(recipe=changed))
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _read_events(kind: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Read the events of a kind, in order, a batch at a time: they may be changed meanwhile."""
    last: tuple[str, int] = ("", 0)
    while True:
        place = sa.tuple_(events.c.job_id, events.c.seq)
        query = sa.select(events.c.job_id, events.c.seq, events.c.data).where(events.c.kind == kind, place > last)
        rows = op.get_bind().execute(query.order_by(events.c.job_id, events.c.seq).limit(BATCH)).all()
        yield from ((job_id, seq, data) for job_id, seq, data in rows)
        if len(rows) < BATCH:
            return
        last = (rows[-1].job_id, rows[-1].seq)


def _write_data(job_id: str, seq: int, data: dict[str, Any]) -> None:
    is_event = (events.c.job_id == job_id) & (events.c.seq == seq)
    op.execute(events.update().where(is_event).values(data=data))


def _rename_key(data: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in data.items()}
