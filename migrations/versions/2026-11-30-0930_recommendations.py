"""Recommendations"""

import sqlalchemy as sa
from alembic import op

from service.table_base import now

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recommendations",
        sa.Column("min_accuracy", sa.Double(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_by", sa.String(40), nullable=True),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("waits_until", sa.Double(), nullable=True),
        sa.Column("silent_worker", sa.String(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_recommendations"),
    )
    op.create_index("ix_recommendations_dataset_id", "recommendations", ["dataset_id"])
    op.create_index(
        "ix_recommendations_status_recommendations_lease_until", "recommendations", ["status", "lease_until"]
    )
    op.create_table(
        "recommendation_candidates",
        sa.Column("recommendation_id", sa.String(40), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("backbone", sa.String(255), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        _belonging("recommendation_candidates"),
        sa.PrimaryKeyConstraint("recommendation_id", "position", name="pk_recommendation_candidates"),
    )
    op.create_table(
        "recommendation_events",
        sa.Column("recommendation_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), server_default=now(), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _belonging("recommendation_events"),
        sa.PrimaryKeyConstraint("recommendation_id", "seq", name="pk_recommendation_events"),
    )


def _belonging(table: str) -> sa.ForeignKeyConstraint:
    """Rows of a table go with their recommendation."""
    name = f"fk_{table}_recommendation_id_recommendations"
    return sa.ForeignKeyConstraint(["recommendation_id"], ["recommendations.id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    op.drop_table("recommendation_events")
    op.drop_table("recommendation_candidates")
    op.drop_table("recommendations")
