"""Connections of tenants to services, and what stands there of each content."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade():
    op.create_table(
        "connections",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("service", sa.String(20), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("user_name", sa.String(255)),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.String(255)),
        sa.Column("tested_ms", sa.BigInteger()),
        sa.Column("test_ok", sa.Integer()),
        sa.Column("test_text", sa.Text()),
        sa.Column("test_json", sa.Text()),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("hold_s", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("held_until_ms", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("error_json", sa.Text()),
        sa.UniqueConstraint("tenant_id", "service", name="connections_tenant_key"),
        sqlite_autoincrement=True)
    op.create_table(
        "sync_links",
        sa.Column("id", ID, primary_key=True),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("service", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("remote_id", sa.String(64)),
        sa.Column("url", sa.Text()),
        sa.Column("edit_url", sa.Text()),
        sa.Column("sent", sa.Text()),
        sa.Column("base", sa.Text()),
        sa.Column("sending", sa.Text()),
        sa.Column("theirs", sa.Text()),
        sa.Column("notes", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("since_ms", sa.BigInteger()),
        sa.Column("owner", sa.String(80)),
        sa.Column("decision", sa.String(10)),
        sa.Column("decided_by", sa.String(255)),
        sa.Column("decided_ms", sa.BigInteger()),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("synced_ms", sa.BigInteger()),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("content_id", "service", name="sync_links_content_key"),
        sqlite_autoincrement=True)
    op.create_index("sync_links_state_idx", "sync_links", ["service", "state", "content_id"])
    op.create_index("sync_links_remote_idx", "sync_links", ["tenant_id", "service", "remote_id"])
    op.create_table(
        "sync_actions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("service", sa.String(20), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_json", sa.Text()),
        sa.Column("url", sa.Text()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("uuid", "content_id", name="sync_actions_job_key"),
        sqlite_autoincrement=True)
    op.create_index("sync_actions_content_idx", "sync_actions", ["content_id", "id"])
    op.create_index("sync_actions_at_idx", "sync_actions", ["at_ms"])
    op.execute("INSERT INTO alert_rules (kind, enabled, threshold, minimum, window_min, severity, channels, cooldown_min) "
               "VALUES ('connection', 1, 0, 0, 60, 'warning', '*', 15)")


def downgrade():
    op.execute("DELETE FROM alert_rules WHERE kind = 'connection'")
    op.drop_table("sync_actions")
    op.drop_table("sync_links")
    op.drop_table("connections")
