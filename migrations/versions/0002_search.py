"""Search over finished jobs, and an index of those that did not complete."""

import contextlib

import sqlalchemy as sa
from alembic import op

from app.ledger.search import SCHEMA

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
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
