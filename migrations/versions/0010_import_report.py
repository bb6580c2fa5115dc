"""How much an import's report keeps: at most 10,000 rows; all are counted, also those whose reference stands again."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = (("repeated", sa.Integer()), ("kept", sa.Integer()), ("kept_bytes", sa.BigInteger()))


def upgrade():
    for name, kind in COLUMNS:
        op.add_column("import_runs", sa.Column(name, kind, server_default="0", nullable=False))
    op.execute("UPDATE import_runs SET kept = rejected")


def downgrade():
    for name, _kind in reversed(COLUMNS):
        op.drop_column("import_runs", name)
