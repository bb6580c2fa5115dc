"""What we wanted to stand there when a conflict was found, so that a person sees both sides; which state of a content was synced."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("sync_links", sa.Column("ours", sa.Text()))
    op.add_column("sync_links", sa.Column("content_ms", sa.BigInteger()))
    op.add_column("sync_links", sa.Column("asked_ms", sa.BigInteger()))


def downgrade():
    op.drop_column("sync_links", "asked_ms")
    op.drop_column("sync_links", "content_ms")
    op.drop_column("sync_links", "ours")
