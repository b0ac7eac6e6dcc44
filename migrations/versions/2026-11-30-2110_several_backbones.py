"""Several backbones of a job, and the backbone of each candidate"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_backbones",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("backbone", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_backbones_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_job_backbones"),
    )
    op.create_index("ix_job_backbones_backbone", "job_backbones", ["backbone"])
    op.add_column("candidates", sa.Column("backbone", sa.String(length=255), nullable=True))
    op.execute("UPDATE candidates SET backbone = (SELECT jobs.backbone FROM jobs WHERE jobs.id = candidates.job_id)")


def downgrade() -> None:
    op.drop_column("candidates", "backbone")
    op.drop_table("job_backbones")
