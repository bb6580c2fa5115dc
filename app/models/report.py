"""`report_plans`, who gets a report and when; `reports`, one row for a plan and period; `mails`, the outbox."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db
from app.models.types import Id

_DUE = text("state IN ('waiting', 'sending')")


class ReportPlan(db.Model):
    """A report that is sent again and again. `target` is `mail:ADDRESS` or `channel:NAME` (of ALERT_URLS); `period` is
    day, week or month. It is sent after the period, at `hour` of APP_TIMEZONE: a week on its `day` (1 Monday to 7), a
    month on its `day` (1 to 28). `filter` is JSON of job_type, tenant_id and queue. Periods that ended before
    `since_ms` are not sent."""

    __tablename__ = "report_plans"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    target: Mapped[str] = mapped_column(String(300))
    period: Mapped[str] = mapped_column(String(10))
    day: Mapped[int] = mapped_column(Integer, server_default="1")
    hour: Mapped[int] = mapped_column(Integer, server_default="7")
    language: Mapped[str] = mapped_column(String(5))
    filter: Mapped[str] = mapped_column(Text, server_default="{}")
    enabled: Mapped[int] = mapped_column(Integer, server_default="1")
    made_by: Mapped[str] = mapped_column(String(255))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    since_ms: Mapped[int] = mapped_column(BigInteger)


class Report(db.Model):
    """The figures (JSON) of one period of a plan: the row is written with its mail, so a period is sent once. A day and
    a week of a plan whose period was changed may begin at the same time. `ahead`: it was there before its period was
    over, so a clock was wrong."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("plan_id", "from_ms", "until_ms"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    plan_id: Mapped[int] = mapped_column(BigInteger)
    from_ms: Mapped[int] = mapped_column(BigInteger)
    until_ms: Mapped[int] = mapped_column(BigInteger)
    ahead: Mapped[int] = mapped_column(Integer, server_default="0")
    figures: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Mail(db.Model):
    """A message to `mail:ADDRESS` or `channel:NAME`. `kind` is report, notice or test; a report is rendered when it is
    sent, from `report_id`; its `body` is how many periods before it were not sent. A test of a plan (`plan_id`) has no
    report: its figures are read when it is sent. A notice has `facts`, JSON: `by`, the account that asked to be told,
    and `subject` and `body` for who sees data; those of the row have none. `state` is waiting, sending (until
    `lease_ms`), sent or dropped; `refusals` counts the last attempts in a row that the mail server refused for good."""

    __tablename__ = "mails"
    __table_args__ = (Index("mails_plan_idx", "plan_id", "id"),
                      Index("mails_due_idx", "next_ms", "id", sqlite_where=_DUE, postgresql_where=_DUE),
                      {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    target: Mapped[str] = mapped_column(String(300))
    language: Mapped[str] = mapped_column(String(5))
    plan_id: Mapped[int | None] = mapped_column(BigInteger)
    report_id: Mapped[int | None] = mapped_column(BigInteger)
    subject: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10), server_default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    refusals: Mapped[int] = mapped_column(Integer, server_default="0")
    next_ms: Mapped[int] = mapped_column(BigInteger)
    lease_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")
    repeated: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str | None] = mapped_column(Text)
    error_json: Mapped[str | None] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
