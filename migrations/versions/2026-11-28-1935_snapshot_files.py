"""Snapshots are files in the storage; jobs that had one start over, and an event reports it

The sweep collects tensors that only snapshots named; after a downgrade, it removes files that no row names.
"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MESSAGE = "The upgrade dropped the training snapshot; the next attempt starts over"


def upgrade() -> None:
    _add_events()
    op.drop_table("snapshot_tensors")
    op.drop_table("snapshots")
    op.create_table(
        "snapshots",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        *_columns(),
    )


def downgrade() -> None:
    _add_events()
    op.drop_table("snapshots")
    op.create_table(
        "snapshots",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        *_columns(),
    )
    op.create_table(
        "snapshot_tensors",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["snapshots.job_id"], name="fk_snapshot_tensors_job_id_snapshots", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["digest"], ["tensors.digest"], name="fk_snapshot_tensors_digest_tensors"),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_snapshot_tensors"),
    )
    op.create_index("ix_snapshot_tensors_digest", "snapshot_tensors", ["digest"])


def _columns() -> list[sa.Column[object] | sa.Constraint]:
    return [
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_snapshots_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name="pk_snapshots"),
    ]


def _add_events() -> None:
    """Add an event to every job that has a snapshot."""
    # The update locks the rows, so that nobody else gives the same numbers to events.
    op.execute("UPDATE jobs SET event_seq = event_seq + 1 WHERE id IN (SELECT job_id FROM snapshots)")
    op.execute(
        sa.text(
            "INSERT INTO events (job_id, seq, level, kind, message, data) "
            "SELECT id, event_seq, 'warning', 'snapshot_dropped', :message, '{}' "
            "FROM jobs WHERE id IN (SELECT job_id FROM snapshots)"
        ).bindparams(message=MESSAGE)
    )
