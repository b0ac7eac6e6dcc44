"""Deleted checkpoints that lineage remembers"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_checkpoints",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("dataset_digest", sa.String(64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("deleted_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("deleted_by", sa.String(40), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_checkpoints"),
    )


def downgrade() -> None:
    op.drop_table("deleted_checkpoints")
