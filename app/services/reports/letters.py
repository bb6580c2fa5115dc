"""A row of `mails` as it is sent: subject, plain text, HTML and files, in the language of the row.

report -> the figures of its row of `reports`; a test of a plan -> those of the latest period, read now
  -> PDF, HTML, plain text (pdf.py, html_mail.py, plain.py) and the CSVs (report_csv.py)
notice, other tests -> subject and body of the row, as text and as HTML
First stands what a reader must know: that it is a test, that it may have come before, that periods were left out.
Needs an application context, and ends its transaction before it draws.
"""

from __future__ import annotations

import base64
import html
import re
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _, ngettext

from app.extensions import db, reading
from app.ledger.dialect import SessionExecutor
from app.models.types import as_text
from app.services.alerts.texts import BRAND, repeated
from app.services.reports import figures, files, html_mail, opening, periods, plain, plan_values, without_data
from app.services.reports.model import ReportFigures
from app.support.formatting import number
from app.support.messages import Message
from app.support.redaction import one_line
from app.support.settings import settings

_URL = re.compile(r"https?://[^\s<>\"]{1,2000}")
_AFTER = ".,;:!?)"  # signs of the sentence behind an address


class NotWritten(Exception):
    """The mail cannot be written; the text is a Message."""


@dataclass(frozen=True)
class Letter:
    """A mail; `files` are (name, type, base64)."""

    subject: str
    text: str
    html: str
    files: list[tuple[str, str, str]] = field(default_factory=list)


def write(row: Any, now: int, again: bool) -> Letter:
    """The letter of a row of sending.FIELDS; `again`: it may have been delivered before. Raises NotWritten and what
    drawing raises."""
    told = [repeated()] if again else []
    if row.plan_id is None and row.report_id is None:
        body = as_text(row.body) or ""
        subject = one_line(as_text(row.subject) or _("Test"), 200)
        text = "\n".join([*told, body])
        return Letter(subject if subject.startswith(BRAND) else BRAND + subject, text, as_html(text))
    tx = SessionExecutor(db.session)
    with reading():
        plans = tx.fetch_all(f"SELECT {plan_values.FIELDS.replace(' ', ', ')} FROM report_plans WHERE id = :id",
                             id=row.plan_id)
        kept = tx.fetch_all("SELECT figures FROM reports WHERE id = :id", id=row.report_id)
    name = one_line(as_text(plans[0][1]) or "", 80) if plans else ""
    if row.report_id is None:
        told.append(_("A test, asked for on the page of reports."))
        found = _latest(plans, now)
        with reading():
            found = without_data.hide(found) if without_data.wanted(tx, as_text(row.target) or "") else found
    else:
        if not kept:
            raise NotWritten(Message("the figures of this report are no longer kept"))
        found = figures.from_json(as_text(kept[0][0]) or "")
        skipped = int(row.body) if (as_text(row.body) or "").isascii() and str(row.body).isdigit() else 0
        told += [ngettext("%(n)s period before it was not sent: the monitor was not running.",
                          "%(n)s periods before it were not sent: the monitor was not running.", skipped,
                          n=number(skipped))] if skipped else []
    return of_figures(found, row.language, name, told, _("Test") if row.report_id is None else "")


def _latest(plans: list[tuple], now: int) -> ReportFigures:
    """The figures of the last period of a plan that has ended, also before the hour of its mail. Raises NotWritten when
    the plan is gone or damaged."""
    try:
        plan = plan_values.read(plans[0])
    except (IndexError, plan_values.Damaged):
        raise NotWritten(Message("this plan cannot be read: save it anew")) from None
    window = periods.last(plan.period, now, settings().timezone)
    return figures.collect(window, plan.limits)


def of_figures(found: ReportFigures, language: str, name: str, told: list[str], mark: str = "") -> Letter:
    """A report as a mail; `name` is that of its plan, `told` stands first, `mark` begins the subject."""
    url = settings().public_url
    subject = opening.subject(opening.of(found, language, url))
    text, page = (made.render(found, language, url) for made in (plain, html_mail))
    first = "".join(f'<p style="margin:0 0 12px"><b>{html.escape(line)}</b></p>' for line in told)
    page = page.replace("<h1", first + "<h1", 1)  # inside the card
    made = [*files.files_of(found, "pdf", language), *files.files_of(found, "csv", language)]
    return Letter(BRAND + ": ".join(part for part in (mark, name, subject) if part),
                  "\n".join([*told, *([""] if told else []), text]), page,
                  [(name, mime, base64.b64encode(content).decode()) for name, mime, content in made])


def as_html(text: str) -> str:
    """Plain text as a simple page of HTML, its addresses as links."""
    parts, at = [], 0
    for found in _URL.finditer(text):
        plain = found[0].rstrip(_AFTER)
        url = html.escape(plain)
        parts += [html.escape(text[at:found.start()]), f'<a href="{url}">{url}</a>']
        at = found.start() + len(plain)
    lines = "".join([*parts, html.escape(text[at:])]).split("\n")
    body = "<br>\n".join(lines)
    return ('<!doctype html><html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"></head>'
            f'<body style="font-family:sans-serif;font-size:14px;line-height:1.5">{body}</body></html>')
