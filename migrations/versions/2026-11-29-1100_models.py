"""Names of checkpoints, what jobs publish, and prediction statistics"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prediction_statistics",
        sa.Column("checkpoint_id", sa.String(40), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["checkpoints.id"],
            name="fk_prediction_statistics_checkpoint_id_checkpoints",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_prediction_statistics"),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("checkpoint_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name="fk_models_checkpoint_id_checkpoints"),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )
    op.create_index("ix_models_checkpoint_id", "models", ["checkpoint_id"])
    op.create_table(
        "model_moves",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checkpoint", sa.String(40), nullable=True),
        sa.Column("created_by", sa.String(40), nullable=True),
        sa.Column("job", sa.String(40), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("name", "seq", name="pk_model_moves"),
    )
    op.add_column("jobs", sa.Column("publish", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "publish")
    op.drop_table("model_moves")
    op.drop_table("models")
    op.drop_table("prediction_statistics")
