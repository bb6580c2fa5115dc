"""Alerts: rules, incidents and their messages; figures by the minute, from which rules are judged."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
CRITICAL = {"failures", "no_worker", "critical_job", "disk"}
RULES = (  # kind, threshold, minimum, window in minutes
    ("failures", 5, 0, 60), ("no_worker", 10, 0, 0), ("slow", 5, 5, 60), ("box_memory", 80, 0, 0), ("worker_memory", 100, 0, 0),
    ("critical_job", 0, 0, 60), ("oldest", 30, 0, 0), ("growing", 1.5, 100, 15), ("overrun", 3, 20, 0), ("missed", 0, 0, 60),
    ("rescued", 0, 0, 60), ("disk", 10, 0, 0),
)


def upgrade():
    rules = op.create_table(
        "alert_rules",
        sa.Column("id", Id, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("minimum", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("window_min", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("job_type", sa.String(255)),
        sa.Column("queue", sa.String(255)),
        sa.Column("tenant_id", sa.String(255)),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("quiet_from", sa.String(5)),
        sa.Column("quiet_until", sa.String(5)),
        sa.Column("channels", sa.Text(), nullable=False, server_default="*"),
        sa.Column("cooldown_min", sa.Integer(), nullable=False, server_default="15"),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(rules, [
        {"kind": kind, "threshold": threshold, "minimum": minimum, "window_min": window, "severity": "critical" if kind in CRITICAL else "warning"}
        for kind, threshold, minimum, window in RULES
    ])
    op.create_table(
        "alerts",
        sa.Column("id", Id, primary_key=True),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False, server_default=""),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("link", sa.Text()),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger()),
        sa.Column("tell_ms", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("acked_ms", sa.BigInteger()),
        sa.Column("acked_by", sa.String(255)),
        sa.Column("snoozed_ms", sa.BigInteger()),
        sa.Column("snoozed_by", sa.String(255)),
        sqlite_autoincrement=True,
    )
    op.create_index("alerts_open_key", "alerts", ["rule_id", "subject"], unique=True,
                    sqlite_where=sa.text("closed_ms IS NULL"), postgresql_where=sa.text("closed_ms IS NULL"))
    op.create_index("alerts_closed_idx", "alerts", ["closed_ms"])
    op.create_table(
        "alert_messages",
        sa.Column("id", Id, primary_key=True),
        sa.Column("alert_id", sa.BigInteger()),
        sa.Column("channel", sa.String(40), nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, server_default="waiting"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_ms", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("repeated", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.UniqueConstraint("alert_id", "channel", "phase"),
        sqlite_autoincrement=True,
    )
    op.create_index("alert_messages_due_idx", "alert_messages", ["channel", "id"],
                    sqlite_where=sa.text("state IN ('waiting', 'sending')"), postgresql_where=sa.text("state IN ('waiting', 'sending')"))
    op.create_table(
        "job_minutes",
        sa.Column("minute_ms", sa.BigInteger(), nullable=False),
        sa.Column("job_type", sa.String(255), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("status", sa.String(50), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute_ms", "job_type", "queue", "tenant_id", "status"),
    )
    op.create_table(
        "queue_minutes",
        sa.Column("minute_ms", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("minute_ms", "queue"),
    )
    op.add_column("recurring", sa.Column("missed_at_ms", sa.BigInteger()))


def downgrade():
    op.drop_column("recurring", "missed_at_ms")
    for table in ("queue_minutes", "job_minutes", "alert_messages", "alerts", "alert_rules"):
        op.drop_table(table)
