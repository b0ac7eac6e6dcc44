"""Priority of a job, and requests to stop"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("priority", sa.BigInteger(), server_default="0", nullable=False))
        jobs.add_column(sa.Column("is_stopping", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("priority", server_default=None)
        jobs.alter_column("is_stopping", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("is_stopping")
        jobs.drop_column("priority")
