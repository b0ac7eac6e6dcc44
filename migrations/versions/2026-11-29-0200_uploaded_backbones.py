"""Uploaded backbones and the events of their import; accuracy and costs of listed ones"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from service.tables import now

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "multiply_adds": sa.BigInteger(),
    "accuracy": sa.Double(),
    "display_name": sa.String(),
    "upload": sa.String(),
    "samples": sa.String(),
    "bytes": sa.BigInteger(),
    "digest": sa.String(64),
    "format": sa.String(32),
    "options": sa.JSON(),
    "files": sa.JSON(),
    "import_report": sa.JSON(),
}
"""Nullable columns of `backbones`."""


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("backbones", sa.Column(name, kind, nullable=True))
    op.add_column("backbones", sa.Column("event_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "backbone_events",
        sa.Column("backbone_id", sa.String(255), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), server_default=now(), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backbone_id"], ["backbones.id"], name="fk_backbone_events_backbone_id_backbones", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("backbone_id", "seq", name="pk_backbone_events"),
    )


def downgrade() -> None:
    op.drop_table("backbone_events")
    op.execute("DELETE FROM backbones WHERE source = 'upload'")  # the sweep before 0011 leaves their files
    for name in ("event_seq", *COLUMNS):
        op.drop_column("backbones", name)
