"""API keys, and the key that made each dataset, job and uploaded backbone"""

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MADE_BY_KEYS = ("datasets", "jobs", "backbones")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(40), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    for table in MADE_BY_KEYS:
        op.add_column(table, sa.Column("created_by", sa.String(40), nullable=True))


def downgrade() -> None:
    for table in MADE_BY_KEYS:
        op.drop_column(table, "created_by")
    op.drop_table("api_keys")
