"""The storage key of a dataset's list of skipped files, and whether its images have labels"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("skipped", sa.String(), nullable=True))
    op.add_column("datasets", sa.Column("labels", sa.String(8), server_default="auto", nullable=False))


def downgrade() -> None:
    op.execute(
        "UPDATE datasets SET task = NULL, status = 'failed', error = "
        """'{"code": "unlabelled", "message": "This release needs labels. Send the images in class folders."}' """
        "WHERE task = 'unlabelled'"
    )
    op.drop_column("datasets", "labels")
    op.drop_column("datasets", "skipped")
