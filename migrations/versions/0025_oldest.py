"""The index of ready rows has the time since which each is ready, so the longest wait is read with the depths."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

PLACE = ["queue", sa.text("rank DESC"), sa.text("COALESCE(seat, id)"), "id"]
READY = sa.text("state = 'pending'")


def again(columns):
    op.drop_index("jobs_ready_idx", "jobs")
    op.create_index("jobs_ready_idx", "jobs", columns, sqlite_where=READY, postgresql_where=READY)


def upgrade():
    again([*PLACE, "available_ms"])


def downgrade():
    again(PLACE)
