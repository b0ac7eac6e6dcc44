"""Batch predictions"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batch_predictions",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(40), nullable=True),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("top_k", sa.BigInteger(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=True),
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
        sa.PrimaryKeyConstraint("id", name="pk_batch_predictions"),
    )
    op.create_index("ix_batch_predictions_dataset_id", "batch_predictions", ["dataset_id"])
    op.create_index(
        "ix_batch_predictions_status_batch_predictions_lease_until", "batch_predictions", ["status", "lease_until"]
    )
    op.create_table(
        "batch_prediction_models",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("checkpoint_id", sa.String(40), nullable=False),
        _belonging("batch_prediction_models"),
        sa.PrimaryKeyConstraint("prediction_id", "position", name="pk_batch_prediction_models"),
    )
    op.create_index("ix_batch_prediction_models_checkpoint_id", "batch_prediction_models", ["checkpoint_id"])
    op.create_table(
        "batch_prediction_parts",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        _belonging("batch_prediction_parts"),
        sa.PrimaryKeyConstraint("prediction_id", "first", name="pk_batch_prediction_parts"),
    )
    op.create_table(
        "batch_prediction_events",
        sa.Column("prediction_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), server_default=now(), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _belonging("batch_prediction_events"),
        sa.PrimaryKeyConstraint("prediction_id", "seq", name="pk_batch_prediction_events"),
    )


def _belonging(table: str) -> sa.ForeignKeyConstraint:
    """Rows of a table go with their batch prediction."""
    name = f"fk_{table}_prediction_id_batch_predictions"
    return sa.ForeignKeyConstraint(["prediction_id"], ["batch_predictions.id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    op.drop_table("batch_prediction_events")
    op.drop_table("batch_prediction_parts")
    op.drop_table("batch_prediction_models")
    op.drop_table("batch_predictions")
