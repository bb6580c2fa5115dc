"""What the page of people shows of a session, failed sign-ins found fast in the log of actions, and the row under whose
lock attempts to sign in are counted one after the other."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("user_sessions", sa.Column("agent", sa.String(200), nullable=True))
    op.add_column("user_sessions", sa.Column("network", sa.String(64), nullable=True))
    op.create_index("audit_action_idx", "audit", ["action", "at_ms"])
    op.execute("INSERT INTO meta (key, value, at_ms) VALUES ('sign-ins', '0', 0)")


def downgrade():
    op.execute("DELETE FROM meta WHERE key = 'sign-ins'")
    op.drop_index("audit_action_idx", "audit")
    op.drop_column("user_sessions", "network")
    op.drop_column("user_sessions", "agent")
