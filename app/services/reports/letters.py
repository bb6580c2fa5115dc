"""A row of `mails` as it is sent: subject, plain text, HTML and files, in the language of the row.

report -> the figures of its row of `reports`; a test of a plan -> those of the latest period, read now
  -> PDF, HTML, plain text (pdf.py, html_mail.py, plain.py) and the CSVs (report_csv.py)
notice, other tests -> subject and body of the row, as text and as HTML
First stands what a reader must know: that it is a test, that it may have come before, that periods were left out.
Whether it is sent at all, and with texts of errors, is decided now, by the rights that accounts have now (readers.py).
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
from app.services.people.roles import DATA
from app.services.reports import figures, files, html_mail, opening, periods, plain, plan_values, readers, without_data
from app.services.reports.model import ReportFigures
from app.support.formatting import number
from app.support.messages import Message
from app.support.redaction import one_line
from app.support.settings import settings
from app.support.validation import stored_object

_URL = re.compile(r"https?://[^\s<>\"]{1,2000}")
_MADE_BY = plan_values.FIELDS.split().index("made_by")
_AFTER = ".,;:!?)"  # signs of the sentence behind an address


class NotWritten(Exception):
    """The mail cannot be written; the text is a Message."""


class NotAllowed(NotWritten):
    """Nothing is sent to this reader; the text is a Message."""


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
    tx, target = SessionExecutor(db.session), as_text(row.target) or ""
    if row.plan_id is None and row.report_id is None:
        subject, body = _notice(tx, row, target)
        text = "\n".join([*told, body])
        return Letter(subject if subject.startswith(BRAND) else BRAND + subject, text, as_html(text))
    with reading():
        plans = tx.fetch_all(f"SELECT {plan_values.FIELDS.replace(' ', ', ')} FROM report_plans WHERE id = :id",
                             id=row.plan_id)
        kept = tx.fetch_all("SELECT figures FROM reports WHERE id = :id", id=row.report_id)
    name = one_line(as_text(plans[0][1]) or "", 80) if plans else ""
    if row.report_id is None:
        told.append(_("A test, asked for on the page of reports."))
        found = _latest(plans, now)
    else:
        if not kept:
            raise NotWritten(Message("the figures of this report are no longer kept"))
        found = figures.from_json(as_text(kept[0][0]) or "")
        skipped = int(row.body) if (as_text(row.body) or "").isascii() and str(row.body).isdigit() else 0
        told += [ngettext("%(n)s period before it was not sent: no monitor was running, or the plan rested.",
                          "%(n)s periods before it were not sent: no monitor was running, or the plan rested.", skipped,
                          n=number(skipped))] if skipped else []
    if not plans:
        raise NotAllowed(Message("its plan is deleted"))
    by = as_text(plans[0][_MADE_BY]) or ""
    with reading():  # after the figures: they take seconds
        rights = readers.rights_for(tx, [(target, by)])
    if why := readers.refusal(rights, target, by):
        raise NotAllowed(why)
    found = found if readers.sees_data(rights, target) else without_data.hide(found)
    return of_figures(found, row.language, name, told, _("Test") if row.report_id is None else "")


def _notice(tx: SessionExecutor, row: Any, target: str) -> tuple[str, str]:
    """Subject and body of a mail that is no report. Raises NotAllowed."""
    facts = stored_object(as_text(row.facts))
    by = str(facts.get("by") or "")
    with reading():
        rights = readers.rights_for(tx, [(target, by)])
    if why := readers.notice_refusal(rights, target, by) if facts else readers.own_refusal(rights, target):
        raise NotAllowed(why)
    shown = facts if facts and DATA in rights.get(by.lower(), ()) else {}
    subject, body = (str(shown.get(name) or as_text(getattr(row, name)) or "") for name in ("subject", "body"))
    return one_line(subject or _("Test"), 200), body


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
