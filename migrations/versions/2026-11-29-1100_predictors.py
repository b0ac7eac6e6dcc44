"""Predictors that live"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictors",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_predictors"),
    )


def downgrade() -> None:
    op.drop_table("predictors")
