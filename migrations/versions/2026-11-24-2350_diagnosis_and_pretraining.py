"""Diagnosis of a job, and the dataset that it pretrains on"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("diagnosis", sa.JSON(), nullable=True))
        jobs.add_column(sa.Column("other_dataset_id", sa.String(length=40), nullable=True))
        jobs.create_foreign_key(op.f("fk_jobs_other_dataset_id_datasets"), "datasets", ["other_dataset_id"], ["id"])
        jobs.create_index(op.f("ix_jobs_other_dataset_id"), ["other_dataset_id"])


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index(op.f("ix_jobs_other_dataset_id"))
        jobs.drop_constraint(op.f("fk_jobs_other_dataset_id_datasets"), type_="foreignkey")
        jobs.drop_column("other_dataset_id")
        jobs.drop_column("diagnosis")
