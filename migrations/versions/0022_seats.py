"""The seat of a row that a person has moved, and the indexes by which lines are read in their order."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEXES = {
    "jobs_ready_idx": (["queue"], "state = 'pending'"),
    "jobs_limit_idx": (["limit_key", "state", "queue"], "limit_key IS NOT NULL"),
    "jobs_limited_idx": (["job_type", "limit_key", "queue"], "COALESCE(hold_code, '') IN ('limit', 'rate')")}


def again(line):
    for name, (columns, where) in INDEXES.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", [*columns, sa.text("rank DESC"), *line], sqlite_where=sa.text(where),
                        postgresql_where=sa.text(where))


def upgrade():
    op.add_column("jobs", sa.Column("seat", sa.Double()))
    again([sa.text("COALESCE(seat, id)"), "id"])


def downgrade():
    again(["id"])
    op.drop_column("jobs", "seat")
