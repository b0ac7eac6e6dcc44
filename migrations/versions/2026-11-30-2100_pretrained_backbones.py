"""Backbones that are pretrained on the images of a dataset"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

COLUMNS: dict[str, TypeEngine[Any]] = {
    "pretrained_from": sa.String(255),
    "dataset_id": sa.String(40),
    "pretraining": sa.JSON(),
    "progress": sa.JSON(),
    "snapshot": sa.JSON(),
}
"""Nullable columns of `backbones`."""


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("backbones", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM backbones WHERE source = 'pretraining'")  # the sweep removes their files
    for name in COLUMNS:
        op.drop_column("backbones", name)
