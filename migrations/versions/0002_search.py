"""Search over finished jobs, and an index of those that did not complete."""

import contextlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
REACH = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'search_reach'"
COLUMNS = "job_type, tenant_id, queue, status, args, error"
VIEW = """SELECT id, job_type, tenant_id, queue, status, CASE WHEN json_valid(payload) THEN json_extract(payload, '$.args') END AS args, error \
FROM job_history"""
OLD = "old.id, old.job_type, old.tenant_id, old.queue, old.status, " \
      "CASE WHEN json_valid(old.payload) THEN json_extract(old.payload, '$.args') END, old.error"
NEW = OLD.replace("old.", "new.")
OUT = f"INSERT INTO job_search (job_search, rowid, {COLUMNS}) SELECT 'delete', {OLD}"
SCHEMA = (
    f"CREATE VIEW job_search_rows AS {VIEW}",
    f"CREATE VIRTUAL TABLE job_search USING fts5({COLUMNS}, content='job_search_rows', content_rowid='id', tokenize='unicode61')",
    f"CREATE TRIGGER job_search_deleted AFTER DELETE ON job_history WHEN old.id <= ({REACH}) BEGIN {OUT}; END",
    f"CREATE TRIGGER job_search_updated AFTER UPDATE ON job_history WHEN old.id <= ({REACH}) BEGIN {OUT}; "
    f"INSERT INTO job_search (rowid, {COLUMNS}) SELECT {NEW}; END",
)
UNHAPPY = sa.text("status <> 'completed'")


def upgrade():
    # Partial: a job that completes, the usual case, does not pay for it at its settle.
    op.create_index("job_history_unhappy_idx", "job_history", ["status", "id"], sqlite_where=UNHAPPY, postgresql_where=UNHAPPY)
    if op.get_bind().dialect.name == "sqlite":
        with contextlib.suppress(sa.exc.OperationalError):  # a SQLite built without FTS5: search reads rows
            for statement in SCHEMA:
                op.execute(statement)


def downgrade():
    op.drop_index("job_history_unhappy_idx", "job_history")
    if op.get_bind().dialect.name == "sqlite":
        for kind, name in (("TRIGGER", "job_search_updated"), ("TRIGGER", "job_search_deleted"), ("TABLE", "job_search"), ("VIEW", "job_search_rows")):
            op.execute(f"DROP {kind} IF EXISTS {name}")
        op.execute("DELETE FROM meta WHERE key = 'search_reach'")
