"""Facts and groups of finished jobs, hours and minutes of use, deploys, saved views, schedules of the page."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FACT_INDEXES = {
    "worker": ["worker", "id"], "code": ["code_version", "id"], "run": ["run_ms", "id"], "wait": ["wait_ms", "id"],
    "memory": ["memory", "id"], "uuid": ["uuid"]}


def big(name, **more):
    return sa.Column(name, sa.BigInteger(), **more)


def text(name, size, **more):
    return sa.Column(name, sa.String(size), **more)


def upgrade():
    for table, column in (("job_metrics", text("code_version", 64)), ("job_metrics", sa.Column("traceback", sa.Text())),
                          ("worker_heartbeats", text("revision", 40)), ("queue_minutes", big("oldest_ms")),
                          ("alert_rules", big("view_id"))):
        op.add_column(table, column)
    op.create_table(
        "job_facts", sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True,
                               autoincrement=False),
        text("uuid", 36, nullable=False), text("job_type", 255, nullable=False), text("tenant_id", 255), text("status", 50, nullable=False),
        big("finished_ms", nullable=False), sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), server_default="0", nullable=False), text("worker", 255),
        text("code_version", 64), big("wait_ms"), big("run_ms"), big("memory"), text("error_group", 16))
    for name, columns in FACT_INDEXES.items():
        op.create_index(f"job_facts_{name}_idx", "job_facts", columns)
    for name, columns, where in (("group", ["error_group", "finished_ms"], "error_group IS NOT NULL"),
                                 ("lost", ["id"], "lost > 0")):
        op.create_index(f"job_facts_{name}_idx", "job_facts", columns, sqlite_where=sa.text(where),
                        postgresql_where=sa.text(where))
    op.create_table(
        "error_groups", text("error_group", 16, primary_key=True), text("job_type", 255, nullable=False),
        sa.Column("title", sa.Text(), nullable=False), sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_json", sa.Text()), big("first_ms", nullable=False), big("last_ms", nullable=False))
    op.create_table(
        "usage_hours", text("scope", 10, primary_key=True), text("name", 255, primary_key=True),
        big("hour", primary_key=True, autoincrement=False),
        *(big(name, server_default="0", nullable=False) for name in ("completed", "failed", "attempts", "busy_ms")),
        *(sa.Column(name, sa.LargeBinary()) for name in ("waits", "runs", "memory")), sa.Column("heaviest", sa.Text()),
        sqlite_with_rowid=False)
    op.create_table(
        "machine_minutes", big("minute_ms", primary_key=True, autoincrement=False), sa.Column("cpu", sa.Integer()),
        *(big(name) for name in ("memory", "memory_total", "disk_free", "disk_total", "database", "wal")),
        big("ready", server_default="0", nullable=False), big("oldest_ms"))
    op.create_table(
        "deploys", sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        big("at_ms", nullable=False), text("text", 255, nullable=False), text("actor", 255), text("version", 64),
        sqlite_autoincrement=True)
    op.create_table(
        "saved_views", sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        text("owner", 255, server_default="", nullable=False), text("name", 80, nullable=False),
        sa.Column("query", sa.Text(), nullable=False), text("made_by", 255, nullable=False),
        big("created_ms", nullable=False), sa.UniqueConstraint("owner", "name"), sqlite_autoincrement=True)
    op.create_table(
        "kept_forms", text("token", 64, primary_key=True), sa.Column("path", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False), big("created_ms", nullable=False))
    op.create_table(
        "schedules", text("name", 255, primary_key=True), text("cron", 255, nullable=False), text("job_type", 255),
        sa.Column("args", sa.Text(), server_default="{}", nullable=False), text("queue", 255), text("tenant_id", 255),
        text("overlap", 10, server_default="skip", nullable=False),
        sa.Column("catch_up", sa.Integer(), server_default="0", nullable=False),
        text("changed_by", 255, nullable=False), big("changed_ms", nullable=False))
    op.create_table(
        "audit_jobs", big("audit_id", primary_key=True, autoincrement=False), text("uuid", 36, primary_key=True),
        sa.Column("was", sa.Text()), sqlite_with_rowid=False)
    op.create_index("audit_jobs_uuid_idx", "audit_jobs", ["uuid"])
    op.create_index("audit_actor_idx", "audit", ["actor", "id"])
    for key in ("facts_reach", "usage_reach"):
        op.execute(f"INSERT INTO meta (key, value, at_ms) SELECT '{key}', '0', 0 "
                   f"WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = '{key}')")


def downgrade():
    op.drop_index("audit_actor_idx", "audit")
    for key in ("facts_reach", "usage_reach"):
        op.execute(f"DELETE FROM meta WHERE key = '{key}'")
    for table in ("audit_jobs", "schedules", "kept_forms", "saved_views", "deploys", "machine_minutes", "usage_hours",
                  "error_groups", "job_facts"):
        op.drop_table(table)
    op.execute("DELETE FROM alert_rules WHERE view_id IS NOT NULL")
    for table, columns in (("job_metrics", ("code_version", "traceback")), ("worker_heartbeats", ("revision",)),
                           ("queue_minutes", ("oldest_ms",)), ("alert_rules", ("view_id",))):
        for column in columns:
            op.drop_column(table, column)
