"""Limits: the default of an argument that is counted, which rows have their keys, and an index of what a limit holds.

OPENAI_RPM is the rate of its job type: requests are no longer counted by minute.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("job_limits", sa.Column("per_default", sa.Text(), nullable=True))
    op.add_column("job_limits", sa.Column("rate_per", sa.String(100), nullable=False, server_default=""))
    op.add_column("job_limits", sa.Column("is_keyed", sa.Integer(), nullable=False, server_default="0"))
    held = sa.text("COALESCE(hold_code, '') IN ('limit', 'rate')")
    columns = ["job_type", "limit_key", "queue", sa.text("rank DESC"), "id"]
    op.create_index("jobs_limited_idx", "jobs", columns, sqlite_where=held, postgresql_where=held)
    # The pause that the old limit of requests had set: rows that it holds go on, and the rate keeps them back.
    op.execute("UPDATE queues SET paused_at = NULL, paused_until = NULL, paused_by = NULL, reason = NULL "
               "WHERE name = 'type:ProcessContentGeneration' AND paused_by = 'rate limit'")
    op.drop_table("ask_minutes")


def downgrade():
    op.create_table(
        "ask_minutes",
        sa.Column("minute_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    op.execute("UPDATE jobs SET state = 'pending', hold_code = NULL WHERE state = 'held' AND hold_code = 'overlap'")
    op.drop_index("jobs_limited_idx", "jobs")
    op.drop_column("job_limits", "is_keyed")
    op.drop_column("job_limits", "rate_per")
    op.drop_column("job_limits", "per_default")
