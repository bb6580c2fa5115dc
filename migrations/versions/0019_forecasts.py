"""Run times that were learned, predictions held against what happened, consumers, and how busy the workers were."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "run_time_models",
        sa.Column("job_type", sa.String(255), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("learned", sa.Text()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False))
    op.create_table(
        "predictions",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("job_type", sa.String(255), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(f"{what}_ms", sa.BigInteger(), nullable=False) for what in (
            "begin_low", "begin", "begin_high", "end_low", "end", "end_high")),
        sa.Column("average_ms", sa.BigInteger()),
        sa.Column("runs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("learn", sa.Text()),
        sa.Column("began_ms", sa.BigInteger()),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("inside", sa.Integer()))
    op.create_index("predictions_made_idx", "predictions", ["made_ms"])
    op.create_index("predictions_ended_idx", "predictions", ["ended_ms"])
    op.create_table(
        "consumers",
        sa.Column("consumer_id", sa.String(255), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("wanted", "least", "most")),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("beat_ms", sa.BigInteger(), nullable=False),
        sa.Column("stale", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("reason_json", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("note_json", sa.Text()),
        sa.Column("note_ms", sa.BigInteger()))
    op.create_table(
        "worker_minutes",
        sa.Column("minute_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("wanted", "alive", "busy")))
    op.execute("INSERT INTO meta (key, value, at_ms) SELECT 'learn_reach', '0', 0 "
               "WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'learn_reach')")
    op.execute("INSERT INTO alert_rules (kind, enabled, threshold, minimum, window_min, severity, channels, cooldown_min) "
               "VALUES ('paused', 1, 60, 0, 60, 'warning', '*', 60), ('late', 1, 240, 0, 60, 'warning', '*', 60), "
               "('worker', 1, 0, 0, 60, 'critical', '*', 15)")


def downgrade():
    op.execute("DELETE FROM alert_rules WHERE kind IN ('paused', 'late', 'worker')")
    op.execute("DELETE FROM meta WHERE key = 'learn_reach'")
    op.drop_table("worker_minutes")
    op.drop_table("consumers")
    op.drop_table("predictions")
    op.drop_table("run_time_models")
