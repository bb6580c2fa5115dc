"""Controls: when a job that was asked to stop is stopped hard; recurring jobs and the minutes they ran."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("jobs", sa.Column("stop_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "recurring",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("enabled", sa.Integer(), server_default="1", nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("looked_ms", sa.BigInteger(), nullable=False),
        sa.Column("missed_ms", sa.BigInteger(), nullable=True),
        sa.Column("changed_by", sa.String(255), nullable=True),
    )
    op.create_table(
        "recurring_runs",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("minute_utc", sa.BigInteger(), nullable=False),
        sa.Column("uuid", sa.String(36), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "minute_utc"),
    )


def downgrade():
    op.drop_table("recurring_runs")
    op.drop_table("recurring")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("stop_ms")
