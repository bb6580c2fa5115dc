"""Rights of people, invitations, tokens, second factors; what people follow; reports and the outbox of mails."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

DUE = sa.text("state IN ('waiting', 'sending')")


def key():
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def big(name, **more):
    return sa.Column(name, sa.BigInteger(), **more)


def whole(name, default="0"):
    return sa.Column(name, sa.Integer(), server_default=default, nullable=False)


def text(name, size=None, **more):
    return sa.Column(name, sa.String(size) if size else sa.Text(), **more)


def owner():
    return sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"),
                     sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


def upgrade():
    for column in (whole("sees_data"), text("language", 5), whole("browser_alerts"), text("totp_secret"),
                   big("totp_on_ms"), big("totp_step"), text("recovery_codes")):
        op.add_column("users", column)
    op.create_table(
        "invitations", key(), text("token_hash", 64, nullable=False, unique=True), text("email", 255, nullable=False),
        text("role", 50, nullable=False), whole("sees_data"), text("invited_by", 255, nullable=False),
        big("created_ms", nullable=False), big("expires_ms", nullable=False), sqlite_autoincrement=True)
    op.create_table(
        "api_tokens", key(), owner(), text("name", 80, nullable=False), text("token_hash", 64, nullable=False, unique=True),
        text("prefix", 16, nullable=False), text("scopes", 40, nullable=False), big("created_ms", nullable=False),
        big("expires_ms", nullable=False), big("used_ms"), text("used_from", 64), big("revoked_ms"),
        sqlite_autoincrement=True)
    op.create_index("api_tokens_user_idx", "api_tokens", ["user_id"])
    op.create_table(
        "follows", key(), owner(), text("kind", 10, nullable=False), text("subject", 255, nullable=False),
        text("via", 60, nullable=False), text("language", 5, nullable=False), big("created_ms", nullable=False),
        sa.UniqueConstraint("user_id", "kind", "subject"), sqlite_autoincrement=True)
    op.create_table(
        "notices", key(), owner(), text("kind", 10, nullable=False), text("subject", 255, nullable=False),
        text("title", nullable=False), text("body", nullable=False), text("link", nullable=False),
        big("created_ms", nullable=False), sqlite_autoincrement=True)
    op.create_index("notices_user_idx", "notices", ["user_id", "id"])
    op.create_table(
        "report_plans", key(), text("name", 80, nullable=False), text("target", 300, nullable=False),
        text("period", 10, nullable=False), whole("day", "1"), whole("hour", "7"), text("language", 5, nullable=False),
        text("filter", nullable=False, server_default="{}"), whole("enabled", "1"), text("made_by", 255, nullable=False),
        big("created_ms", nullable=False), big("since_ms", nullable=False), sqlite_autoincrement=True)
    op.create_table(
        "reports", key(), big("plan_id", nullable=False), big("from_ms", nullable=False), big("until_ms", nullable=False),
        whole("ahead"), text("figures", nullable=False), big("created_ms", nullable=False),
        sa.UniqueConstraint("plan_id", "from_ms", "until_ms"), sqlite_autoincrement=True)
    op.create_table(
        "mails", key(), text("kind", 10, nullable=False), text("target", 300, nullable=False),
        text("language", 5, nullable=False), big("plan_id"), big("report_id"), text("subject"), text("body"),
        text("facts"), text("state", 10, nullable=False, server_default="waiting"), whole("attempts"), whole("refusals"),
        big("next_ms", nullable=False),
        big("lease_ms", nullable=False, server_default="0"), whole("repeated"), text("error"), text("error_json"),
        big("created_ms", nullable=False), big("ended_ms"), sqlite_autoincrement=True)
    op.create_index("mails_plan_idx", "mails", ["plan_id", "id"])
    op.create_index("mails_due_idx", "mails", ["next_ms", "id"], sqlite_where=DUE, postgresql_where=DUE)

    op.create_table(
        "rollup_sent", *(sa.Column(name, kind, primary_key=True, autoincrement=False) for name, kind in (
            ("hour", sa.BigInteger()), *((name, sa.String(255)) for name in ("job_type", "tenant_id", "queue")))),
        big("sent", nullable=False), sqlite_with_rowid=False)
    # What the monitor has counted into queue_seconds already; the rows of 32 days are all there.
    bind = op.get_bind()
    first = (int(time.time() / 3600) - 31 * 24) * 3_600_000
    bind.execute(sa.text("INSERT INTO meta (key, value, at_ms) VALUES ('sent_since', :first, :now)"),
                 {"first": str(first), "now": int(time.time() * 1000)})
    reach = str(bind.execute(sa.text("SELECT value FROM meta WHERE key = 'pace_reach'")).scalar())
    bind.execute(sa.text(
        "INSERT INTO rollup_sent SELECT created_ms - created_ms % 3600000, COALESCE(job_type, ''), "
        "COALESCE(tenant_id, ''), COALESCE(queue, ''), COUNT(*) FROM job_history WHERE round = 1 AND id <= :reach "
        "AND created_ms > :first AND created_ms < 9000000000000 GROUP BY 1, 2, 3, 4"),
        {"reach": int(reach) if reach.isdigit() else 0, "first": first})


def downgrade():
    op.execute("DELETE FROM meta WHERE key = 'sent_since'")
    for table in ("rollup_sent", "mails", "reports", "report_plans", "notices", "follows", "api_tokens", "invitations"):
        op.drop_table(table)
    for column in ("recovery_codes", "totp_step", "totp_on_ms", "totp_secret", "browser_alerts", "language", "sees_data"):
        op.drop_column("users", column)
