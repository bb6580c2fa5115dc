"""Dependencies between jobs, batches, limits, and the marks of a group.

Rows that stand there wait for nothing, belong to no batch and have no limit.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COLUMNS = (
    ("jobs", "waits", sa.Integer(), "0"), ("jobs", "has_children", sa.Integer(), "0"), ("jobs", "alone", sa.Integer(), "0"),
    ("jobs", "batch_id", sa.String(36), None), ("jobs", "limit_key", sa.String(255), None),
    ("job_history", "batch_id", sa.String(36), None),
    ("failed_jobs", "batch_id", sa.String(36), None), ("failed_jobs", "limit_key", sa.String(255), None),
    ("job_batches", "tenant_id", sa.String(255), None), ("job_batches", "on_failure", sa.String(20), "keep going"),
    ("job_batches", "then_json", sa.Text(), None), ("job_batches", "then_uuid", sa.String(36), None),
    ("job_batches", "created_by", sa.String(255), None), ("job_batches", "created_ms", sa.BigInteger(), "0"),
    ("job_batches", "sealed_ms", sa.BigInteger(), None), ("job_batches", "paused_ms", sa.BigInteger(), None),
    ("job_batches", "closed_ms", sa.BigInteger(), None), ("worker_heartbeats", "held", sa.Text(), None),
)
INDEXES = (  # table, name, columns, condition
    ("jobs", "jobs_batch_idx", ["batch_id", "state"], "batch_id IS NOT NULL"),
    ("jobs", "jobs_limit_idx", ["limit_key", "state", "queue", sa.text("rank DESC"), "id"], "limit_key IS NOT NULL"),
    ("job_history", "job_history_batch_idx", ["batch_id", "status"], "batch_id IS NOT NULL"),
    ("failed_jobs", "failed_jobs_batch_idx", ["batch_id", "id"], "batch_id IS NOT NULL"),
    ("job_batches", "job_batches_open_idx", ["id"], "closed_ms IS NULL"),
)


def upgrade():
    for table, name, kind, default in COLUMNS:
        op.add_column(table, sa.Column(name, kind, server_default=default, nullable=default is None))
    for table, name, columns, condition in INDEXES:
        op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    op.execute("UPDATE job_batches SET closed_ms = CAST(finished_at AS BIGINT) * 1000, created_ms = CAST(created_at AS BIGINT) * 1000, "
               "sealed_ms = CAST(created_at AS BIGINT) * 1000 WHERE finished_at IS NOT NULL")
    op.create_table(
        "job_edges",
        sa.Column("parent_uuid", sa.String(36), nullable=False),
        sa.Column("child_uuid", sa.String(36), nullable=False),
        sa.Column("is_open", sa.Integer(), nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("parent_uuid", "child_uuid"),
        sqlite_with_rowid=False,
    )
    op.create_index("job_edges_child_idx", "job_edges", ["child_uuid"])
    op.create_table(
        "job_limits",
        sa.Column("job_type", sa.String(255), primary_key=True),
        sa.Column("per", sa.String(100), nullable=False, server_default="type"),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in (
            "concurrency", "rate_count", "rate_ms", "set_concurrency", "set_rate_count", "set_rate_ms", "set_at_ms")),
        sa.Column("set_by", sa.String(255), nullable=True),
    )
    op.create_table(
        "rate_starts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("limit_key", sa.String(255), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("rate_starts_idx", "rate_starts", ["limit_key", "at_ms"])


def downgrade():
    op.drop_table("rate_starts")
    op.drop_table("job_limits")
    op.drop_table("job_edges")
    for table, name, _columns, _condition in INDEXES:
        op.drop_index(name, table)
    # A state of its own would be unknown to the code of before.
    op.execute("UPDATE jobs SET state = 'pending' WHERE state = 'waiting'")
    op.execute("UPDATE jobs SET state = 'pending', hold_code = NULL WHERE state = 'held' AND hold_code IN ('limit', 'rate', 'batch')")
    for table, name, _kind, _default in reversed(COLUMNS):
        op.drop_column(table, name)
