"""Content generation: what was asked and answered, versions of contents, prompt templates; costs and budgets; turns by tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade():
    op.create_table(
        "generations",
        sa.Column("id", Id, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False, unique=True),
        sa.Column("round", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("reference", sa.String(255)),
        sa.Column("template", sa.String(100)),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("answered_by", sa.String(100)),
        sa.Column("raw", sa.Text()),
        sa.Column("tokens_in", sa.BigInteger()),
        sa.Column("tokens_cached", sa.BigInteger()),
        sa.Column("tokens_out", sa.BigInteger()),
        sa.Column("cost_nano", sa.BigInteger()),
        sa.Column("currency", sa.String(3)),
        sa.Column("asks", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("maybe_paid", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger()),
        sa.Column("first_ms", sa.BigInteger()),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("applied_ms", sa.BigInteger()),
        sqlite_autoincrement=True,
    )
    op.create_index("generations_tenant_idx", "generations", ["tenant_id", "id"])
    op.create_table(
        "content_versions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("replaced_ms", sa.BigInteger(), nullable=False),
        sa.Column("replaced_by", sa.String(36), nullable=False),
        sa.UniqueConstraint("content_id", "replaced_by"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "prompt_templates",
        sa.Column("id", Id, primary_key=True),
        sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.String(255)),
        sa.UniqueConstraint("tenant_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "job_costs",
        sa.Column("id", Id, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("job_type", sa.String(255), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("model", sa.String(100), nullable=False, server_default=""),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger()),
        sa.Column("tokens_cached", sa.BigInteger()),
        sa.Column("tokens_out", sa.BigInteger()),
        sa.Column("cost_nano", sa.BigInteger()),
        sa.Column("currency", sa.String(3), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("job_costs_at_idx", "job_costs", ["at_ms"])
    op.create_index("job_costs_tenant_idx", "job_costs", ["tenant_id", "at_ms"])
    op.create_index("job_costs_uuid_idx", "job_costs", ["uuid"])
    op.create_table(
        "tenant_budgets",
        sa.Column("tenant_id", sa.String(64), primary_key=True),
        sa.Column("month_nano", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("hold", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("changed_by", sa.String(255)),
    )
    op.create_table(
        "ask_minutes",
        sa.Column("minute_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    op.create_index("jobs_turns_idx", "jobs", ["queue", "tenant_id", "rank"], sqlite_where=sa.text("rank < 0"), postgresql_where=sa.text("rank < 0"))
    op.execute("INSERT INTO alert_rules (kind, enabled, threshold, minimum, window_min, severity, channels, cooldown_min) "
               "VALUES ('budget', 1, 80, 0, 0, 'warning', '*', 15)")


def downgrade():
    op.execute("DELETE FROM alert_rules WHERE kind = 'budget'")
    op.drop_index("jobs_turns_idx", "jobs")
    for table in ("ask_minutes", "tenant_budgets", "job_costs", "prompt_templates", "content_versions", "generations"):
        op.drop_table(table)
