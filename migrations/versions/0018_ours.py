"""What we wanted to stand there when a conflict was found, so that a person sees both sides."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("sync_links", sa.Column("ours", sa.Text()))


def downgrade():
    op.drop_column("sync_links", "ours")
