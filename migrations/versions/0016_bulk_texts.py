"""Texts that are generated in bulk, and drafts that wait for a person.

Generations that stand there belong to no bulk and were never drafts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMNS = (("batch_id", sa.String(36)), ("draft", sa.String(10)), ("decided_by", sa.String(255)), ("decided_ms", sa.BigInteger()))
INDEXES = (  # name, columns, condition
    ("generations_model_idx", ["model", "id"], None),
    ("generations_content_idx", ["tenant_id", "reference"], "reference IS NOT NULL"),
    ("generations_batch_idx", ["batch_id", "id"], "batch_id IS NOT NULL"),
    ("generations_draft_idx", ["id"], "draft = 'waiting'"),
)


def upgrade():
    for name, kind in COLUMNS:
        op.add_column("generations", sa.Column(name, kind, nullable=True))
    for name, columns, condition in INDEXES:
        where = sa.text(condition) if condition else None
        op.create_index(name, "generations", columns, sqlite_where=where, postgresql_where=where)


def downgrade():
    for name, _columns, _condition in INDEXES:
        op.drop_index(name, "generations")
    for name, _kind in reversed(COLUMNS):
        op.drop_column("generations", name)
