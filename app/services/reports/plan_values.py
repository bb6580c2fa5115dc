"""A plan of reports as its row has it, checked: what people type, and what another program may have written.

form, command -> `parse_*` (ValidationError with a sentence) -> report_plans -> `read` (Damaged)
A target is `mail:ADDRESS` or `channel:NAME`, a channel of ALERT_URLS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.addresses.mail import address
from app.config import QUEUES
from app.models.types import as_integer, as_text
from app.services.alerts.rules import parse_type
from app.services.jobs import filter_hints, filter_words
from app.services.jobs.job_filter import JobFilter
from app.services.reports.model import ReportFilter
from app.services.reports.periods import PERIODS
from app.services.stats import usage_read
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_line, parse_queue, parse_tenant, stored_object

FIELDS = "id name target period day hour language filter enabled made_by created_ms since_ms"
LANGUAGES, MOST_NAME = ("it", "en"), 80
DAYS = {"day": 1, "week": 7, "month": 28}
MAIL, CHANNEL = "mail:", "channel:"


class Damaged(Exception):
    """A row that none of our programs can have written."""


@dataclass(frozen=True)
class Plan:
    """A row of report_plans; `limits` are of its filter."""

    id: int
    name: str
    target: str
    period: str
    day: int
    hour: int
    language: str
    limits: ReportFilter
    enabled: bool
    made_by: str
    since_ms: int


def read(row: Sequence[object]) -> Plan:
    """The plan of a row of FIELDS. Raises Damaged."""
    texts = {name: as_text(value) or "" for name, value in zip(FIELDS.split(), row, strict=True)}
    numbers = {name: as_integer(value, -1) for name, value in zip(FIELDS.split(), row, strict=True)}
    period, day, hour = texts["period"], numbers["day"] or 0, numbers["hour"]
    kept = stored_object(texts["filter"])
    limits = {name: kept.get(name) for name in ("job_type", "tenant_id", "queue")}
    if period not in PERIODS or not 1 <= day <= DAYS[period] or hour not in range(24) or (
            texts["language"] not in LANGUAGES or target_of(texts["target"]) is None or not kept.keys() <= limits.keys()
            or any(value is not None and type(value) is not str for value in limits.values())):
        raise Damaged
    return Plan(numbers["id"] or 0, texts["name"][:MOST_NAME], texts["target"], period, day, hour or 0,
                texts["language"], ReportFilter(**limits), numbers["enabled"] == 1, texts["made_by"],
                numbers["since_ms"] or 0)


def target_of(text: str) -> str | None:
    """A target in its canonical form; None for a text that is none."""
    if text.startswith(MAIL):
        mailbox = address(text.removeprefix(MAIL))
        return MAIL + mailbox if mailbox else None
    named = re.fullmatch(r"channel:[A-Za-z0-9_.-]{1,40}", text)
    return text if named else None


def parse_name(text: str) -> str:
    """The name of a plan. Raises ValidationError."""
    name = " ".join(check_line(text.strip()).split())
    if not name or len(name) > MOST_NAME:
        raise ValidationError(_("A plan has a name of at most %(n)s characters.", n=MOST_NAME))
    return name


def parse_period(text: str) -> str:
    """One of day, week, month. Raises ValidationError."""
    if text.strip() not in PERIODS:
        raise ValidationError(_("Choose each day, each week or each month."))
    return text.strip()


def parse_day(period: str, text: str) -> int:
    """The day on which it is sent; 1 for a report of a day. Raises ValidationError."""
    if period == "day":
        return 1
    if not re.fullmatch(r"[0-9]{1,2}", text.strip()) or not 1 <= int(text) <= DAYS[period]:
        raise ValidationError(_("Choose a day of the week.") if period == "week" else
                              _("Choose a day of the month, from 1 to 28: each month has it."))
    return int(text)


def parse_hour(text: str) -> int:
    """An hour from 0 to 23. Raises ValidationError."""
    if not re.fullmatch(r"[0-9]{1,2}", text.strip()) or int(text) > 23:
        raise ValidationError(_("Choose an hour from 0 to 23."))
    return int(text)


def parse_language(text: str) -> str:
    """"it" or "en". Raises ValidationError."""
    if text.strip() not in LANGUAGES:
        raise ValidationError(_("Choose Italian or English: it, en."))
    return text.strip()


def parse_address(text: str) -> str:
    """A mail address. Raises ValidationError."""
    found = address(check_line(text))
    if found is None:
        raise ValidationError(_("The e-mail address is not valid. Use one like ada@example.org."))
    return found


def parse_known_type(text: str) -> str | None:
    """A job type that is declared or of which figures are kept; None for a blank text. Raises ValidationError."""
    text = check_line(text).strip()
    return text if text and usage_read.is_known("type", text) else parse_type(text)


def tenant_hint(name: str | None) -> str:
    """What is said beside a tenant of which no job is known, with known names like it; "" for the others."""
    if not name or usage_read.is_known("tenant", name):
        return ""
    near = ", ".join(filter_hints.near(name, filter_words.suggestions(JobFilter(tenant=name))["tenant"]))
    return _("No job has the tenant %(name)s.", name=name) + (near and " " + _("Did you mean %(name)s?", name=near))


def parse_filter(job_type: str, tenant: str, queue: str) -> ReportFilter:
    """What a report is limited to. Raises ValidationError."""
    return ReportFilter(parse_known_type(job_type), parse_tenant(tenant), parse_queue(queue))


__all__ = ["CHANNEL", "DAYS", "FIELDS", "LANGUAGES", "MAIL", "PERIODS", "QUEUES", "Plan", "parse_address", "parse_day",
           "parse_filter", "parse_hour", "parse_known_type", "parse_language", "parse_name", "parse_period",
           "parse_queue", "parse_tenant", "read", "target_of", "tenant_hint"]
