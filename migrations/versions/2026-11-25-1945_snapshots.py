"""Snapshots of running jobs; work that waits until a time; its previous worker"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LEASED = ("jobs", "datasets", "backbones")


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_snapshots_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name="pk_snapshots"),
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
    for table in LEASED:
        op.add_column(table, sa.Column("waits_until", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("silent_worker", sa.String(), nullable=True))


def downgrade() -> None:
    for table in LEASED:
        op.drop_column(table, "silent_worker")
        op.drop_column(table, "waits_until")
    op.drop_table("snapshot_tensors")
    op.drop_table("snapshots")
