"""Sentences keep their id and values, as JSON beside the text, so that they are told in the reader's language.

Rows that stand there are left as they are: a NULL means that the text is all there is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COLUMNS = (
    ("jobs", "reason_json"), ("jobs", "progress_json"), ("job_history", "error_json"), ("job_metrics", "error_json"),
    ("failed_jobs", "error_json"), ("job_logs", "message_json"), ("import_rejects", "reason_json"), ("generations", "error_json"),
    ("worker_heartbeats", "reason_json"), ("alert_messages", "error_json"), ("audit", "action_json"), ("audit", "subject_json"),
    ("audit", "result_json"),
)


def upgrade():
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))


def downgrade():
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column)
