"""Histograms of run and wait times."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "job_histograms",
        sa.Column("job_type", sa.String(255), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("what", sa.String(10), nullable=False),
        sa.Column("le", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sum_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_type", "queue", "what", "le"),
    )


def downgrade():
    op.drop_table("job_histograms")
    op.execute("DELETE FROM meta WHERE key = 'histogram_reach'")
