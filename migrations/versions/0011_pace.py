"""Jobs sent and ended by queue and second, counted by the monitor; jobs that were put back by hand are found without reading the others.

Counting begins a quarter of an hour back, as pages show the last ten minutes.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BACK_MS = 15 * 60_000


def upgrade():
    op.create_table(
        "queue_seconds",
        sa.Column("second_ms", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("second_ms", "queue"),
    )
    again = sa.text("round > 1")
    op.create_index("jobs_again_idx", "jobs", ["queue"], sqlite_where=again, postgresql_where=again)
    bind, now = op.get_bind(), time.time_ns() // 1_000_000
    last = bind.scalar(sa.text("SELECT id FROM job_history WHERE finished_ms < :t ORDER BY id DESC LIMIT 1"), {"t": now - BACK_MS})
    bind.execute(sa.text("INSERT INTO meta (key, value, at_ms) VALUES ('pace_reach', :v, :now)"), {"v": str(last or 0), "now": now})


def downgrade():
    op.drop_index("jobs_again_idx", "jobs")
    op.drop_table("queue_seconds")
    op.execute("DELETE FROM meta WHERE key = 'pace_reach'")
