"""Lines of a job's log say who wrote them: print, a logger, the worker."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("job_logs", sa.Column("source", sa.String(100)))


def downgrade():
    with op.batch_alter_table("job_logs") as table:
        table.drop_column("source")
