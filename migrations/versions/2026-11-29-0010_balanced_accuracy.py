"""Balanced accuracy of an epoch"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("epochs", sa.Column("validation_balanced_accuracy", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("epochs", "validation_balanced_accuracy")
