"""Why a due minute of a schedule has no job."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("recurring_runs", sa.Column("why", sa.String(10)))


def downgrade():
    op.execute("DELETE FROM recurring_runs WHERE why IN ('missed', 'merged', 'broken')")
    op.drop_column("recurring_runs", "why")
