"""What a person is told in the browser: rows of `notices`, read by static/js/notices.js.

after=ID -> the rows behind it: of the last hour one by one, at most 5; all others as one row of kind "more"
no ID -> nothing: this browser asks for the first time; `last` is where it begins
The sentences of jobs and batches stand in the row (telling.py); an alert is read as it is now (alerts/incidents.py
wrote its row when its rule allowed to tell). A row that cannot be read is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _, ngettext
from sqlalchemy import func, select

from app.extensions import db
from app.models import Notice
from app.services.alerts import incident_views
from app.services.notices.filling import filled
from app.services.notices.follows import BATCH, JOB
from app.support.clock import HOUR_MS, now_ms, when
from app.support.formatting import number
from app.support.messages import Message, from_json, translated
from app.support.redaction import printable, redact

ONE_BY_ONE, RECENT_MS, MOST = 5, HOUR_MS, 1000
ALERT, MORE = "alert", "more"


@dataclass(frozen=True)
class NoticeView:
    """A notice in the reader's language; `link` is a path of this site. Of kind "more": several that are not shown one
    by one; its `id` is that of the last of them."""

    id: int
    kind: str
    title: str
    body: str
    link: str
    at: datetime | None


def since(user_id: int, after: int | None, data: bool) -> tuple[list[NoticeView], int]:
    """The notices of a person behind `after`, the oldest first, and the id of the last one (0 without any). Without
    `data` no names of batches and no errors."""
    mine = Notice.user_id == user_id
    last = db.session.scalar(select(func.max(Notice.id)).where(mine)) or 0
    if after is None or after >= last:
        return [], last
    newer = mine, Notice.id > after, Notice.id <= last
    total = db.session.scalar(select(func.count()).select_from(
        select(Notice.id).where(*newer).limit(MOST + 1).subquery()))
    recent = select(Notice).where(*newer, Notice.created_ms > now_ms() - RECENT_MS)
    rows = db.session.scalars(recent.order_by(Notice.id.desc()).limit(ONE_BY_ONE)).all()
    views = _views(list(rows)[::-1], data)
    if total > len(rows):
        views.insert(0, _more(total - len(rows), last, total > MOST, bool(rows)))
    return views, last


def latest(user_id: int, data: bool, size: int = 20) -> list[NoticeView]:
    """The last notices of a person, the latest first."""
    query = select(Notice).where(Notice.user_id == user_id).order_by(Notice.id.desc()).limit(size)
    return _views(db.session.scalars(query).all(), data)


def _more(n: int, last: int, capped: bool, beside: bool) -> NoticeView:
    if capped:
        title = _("More than %(n)s notices", n=number(MOST))
    elif beside:
        title = ngettext("%(n)s more notice", "%(n)s more notices", n, n=number(n))
    else:
        title = ngettext("%(n)s notice while this browser was away", "%(n)s notices while this browser was away", n,
                         n=number(n))
    return NoticeView(last, MORE, title, _("Your account page lists them."), "/account/#notices", when(now_ms()))


def _views(rows: list[Notice], data: bool) -> list[NoticeView]:
    alerts = incident_views.by_id([int(row.subject) for row in rows if row.kind == ALERT and _is_id(row.subject)])
    return [view for row in rows if (view := _alert(row, alerts) if row.kind == ALERT else _ended(row, data))]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _alert(row: Notice, alerts: dict[int, incident_views.AlertView]) -> NoticeView | None:
    found = alerts.get(int(row.subject)) if _is_id(row.subject) else None
    return found and NoticeView(row.id, ALERT, found.name, found.text, "/admin/jobs/alerts/", when(row.created_ms))


def _ended(row: Notice, data: bool) -> NoticeView | None:
    title, body = from_json(row.title), from_json(row.body)
    if title is None or row.kind not in (JOB, BATCH) or not row.link.startswith("/admin/jobs/"):
        return None
    if not data:  # the role may be another one since the row was written
        title, body = _without_data(title, row), None if row.kind == JOB else body
    told = [printable(redact(translated(filled(text)))) if text else "" for text in (title, body)]
    return NoticeView(row.id, row.kind, *told, row.link, when(row.created_ms))


def _without_data(title: Message, row: Notice) -> Message:
    return title.having(name=row.subject[:8]) if row.kind == BATCH else title
