"""Feature caches, as workers report them"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "caches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("budget_bytes", sa.BigInteger(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.BigInteger(), nullable=False),
        sa.Column("saved_seconds", sa.Double(), nullable=False),
        sa.Column("is_emptying", sa.Boolean(), nullable=False),
        sa.Column("reported_at", sa.Double(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caches")),
    )


def downgrade() -> None:
    op.drop_table("caches")
