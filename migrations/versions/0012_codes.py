"""Codes in place of sentences: why a row is held, that a claim is over its time, what became of the place of a stopped worker,
that nobody could send a message, and how often a sign-in failed.

Rows of before are found by the sentences of before, and by them alone; each statement reads an index of few rows or a table
that is kept short. The way back writes these sentences again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

HELD = sa.text("state = 'held'")
TYPE, BUDGET, OVER = "Its type is paused.", "The monthly budget of ", "Over its time limit."
UNSENT = "no monitor had this channel for 8 days"
PLACES = (("empty", "stopped by hand"), ("filled", "stopped by hand; started again"), ("ended", "stopped by hand; then its consumer ended"))
COLUMNS = (
    ("jobs", "hold_code", sa.String(20), None), ("jobs", "over_time", sa.Integer(), "0"),
    ("worker_heartbeats", "stop_code", sa.String(20), None), ("audit", "times", sa.Integer(), "1"),
)
# 'attempts: 12' of both kinds of database: digits behind ten characters, at most nine
TIMES = """UPDATE audit SET times = CAST(SUBSTR(result, 11) AS INTEGER) WHERE action = 'sign-in failed' AND result LIKE 'attempts: _%'
 AND LENGTH(result) <= 19 AND LTRIM(SUBSTR(result, 11), '0123456789') = ''"""


def upgrade():
    for table, name, kind, default in COLUMNS:
        op.add_column(table, sa.Column(name, kind, server_default=default, nullable=default is None))
    op.create_index("jobs_held_idx", "jobs", ["hold_code", "job_type"], sqlite_where=HELD, postgresql_where=HELD)
    run = op.get_bind().execute
    run(sa.text("UPDATE jobs SET hold_code = CASE WHEN reason = :type THEN 'type' WHEN reason LIKE :budget THEN 'budget' "
                "ELSE 'person' END WHERE state = 'held'"), {"type": TYPE, "budget": f"{BUDGET}%"})
    run(sa.text("UPDATE jobs SET over_time = 1 WHERE state = 'processing' AND reason = :over"), {"over": OVER})
    for code, reason in PLACES:
        run(sa.text("UPDATE worker_heartbeats SET stop_code = :code WHERE status = 'stopped' AND reason = :reason"),
            {"code": code, "reason": reason})
    run(sa.text("UPDATE alert_messages SET state = 'expired' WHERE state = 'dropped' AND error = :unsent"), {"unsent": UNSENT})
    run(sa.text(TIMES))


def downgrade():
    run = op.get_bind().execute
    run(sa.text("UPDATE alert_messages SET state = 'dropped', error = :unsent WHERE state = 'expired'"), {"unsent": UNSENT})
    for code, reason in PLACES:
        run(sa.text("UPDATE worker_heartbeats SET reason = :reason WHERE stop_code = :code"), {"code": code, "reason": reason})
    run(sa.text("UPDATE jobs SET reason = :over WHERE state = 'processing' AND over_time = 1"), {"over": OVER})
    run(sa.text("UPDATE jobs SET reason = :type WHERE state = 'held' AND hold_code = 'type'"), {"type": TYPE})
    run(sa.text("UPDATE jobs SET reason = :budget || COALESCE(tenant_id, '') || ' is spent.' WHERE state = 'held' AND hold_code = 'budget' "
                "AND COALESCE(reason, '') NOT LIKE :like"), {"budget": BUDGET, "like": f"{BUDGET}%"})
    op.drop_index("jobs_held_idx", "jobs")
    for table, name, _kind, _default in reversed(COLUMNS):
        op.drop_column(table, name)
