"""Workers report that they live, and which backbones each can load; attempts count the batches that they recorded"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


LEASED = ("datasets", "backbones", "jobs")


def upgrade() -> None:
    for table in LEASED:
        op.add_column(table, sa.Column("batches", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "workers",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("alive_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_table(
        "listings",
        sa.Column("worker_id", sa.String(255), nullable=False),
        sa.Column("backbone", sa.String(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name="fk_listings_worker_id_workers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_id", "backbone", name="pk_listings"),
    )
    op.create_index("ix_listings_backbone", "listings", ["backbone"])


def downgrade() -> None:
    op.drop_table("listings")
    op.drop_table("workers")
    for table in LEASED:
        op.drop_column(table, "batches")
