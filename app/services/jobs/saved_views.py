"""Filters of the list under a name, for one person or for all.

form -> `create` | `change` | `delete` (its maker or an administrator) -> saved_views, with a row in the log of actions
saved_views -> `listing`, the menu of a person; -> `wanted`, the filter that an alert rule counts with

A view whose query a later version cannot read any more stays in the menu; opening it says what is wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.models import AlertRule, SavedView
from app.services.audit import ActionRefused, commit_audited, row_of
from app.services.jobs.job_filter import ARGS, NAMES, JobFilter
from app.support import privacy
from app.support.clock import now_ms
from app.support.messages import Message, translate as _
from app.support.validation import ValidationError, check_line, stored_object

MOST_VIEWS, MOST_NAME = 100, 80


@dataclass(frozen=True)
class View:
    """A saved view: the parts of its filter, whether all people see it, and whether the reader may change it."""

    id: int
    name: str
    query: dict[str, str]
    shared: bool
    made_by: str
    mine: bool


def listing(reader: str, admin: bool = False) -> list[View]:
    """The views of a person and those for all, by name."""
    rows = db.session.scalars(select(SavedView).where(SavedView.owner.in_(("", reader))))
    views = (_shown(row, reader, admin) for row in rows if not _telling(row, reader))
    return sorted(views, key=lambda view: (view.name.casefold(), view.id))


def find(view: int, reader: str, admin: bool = False) -> View:
    """A view that a person sees. Raises ActionRefused when there is none."""
    return _shown(_row(view, reader), reader, admin)


def _row(view: int, reader: str) -> SavedView:
    row = row_of(SavedView, view, _("There is no such view."))
    if row.owner not in ("", reader) or _telling(row, reader):
        raise ActionRefused(_("There is no such view."), unknown=True)
    return row


def _telling(row: SavedView, reader: str) -> bool:
    """Whether the filter of a view of somebody else has texts that this reader may not see."""
    data = (name == "q" or name.startswith(ARGS) for name in stored_object(row.query))
    return row.made_by != reader and any(data) and privacy.hidden()


def _shown(row: SavedView, reader: str, admin: bool) -> View:
    query = {name: text for name, text in stored_object(row.query).items()
             if isinstance(text, str) and (name in NAMES or name.startswith(ARGS))}
    return View(row.id, row.name[:MOST_NAME], query, not row.owner, row.made_by, admin or row.made_by == reader)


def parse_name(text: str) -> str:
    """A name of a view. Raises ValidationError."""
    name = " ".join(check_line(text.strip()).split())
    if not name or len(name) > MOST_NAME:
        raise ValidationError(_("A view has a name of at most %(n)s characters.", n=MOST_NAME))
    return name


def create(name: str, wanted: JobFilter, shared: bool, actor: str) -> int:
    """Save a filter under a name, for all when `shared`; returns its id. Raises ValidationError."""
    if (db.session.scalar(select(func.count()).where(SavedView.made_by == actor)) or 0) >= MOST_VIEWS:
        raise ValidationError(_("You have %(n)s views already: delete one first.", n=MOST_VIEWS))
    row = SavedView(made_by=actor, created_ms=now_ms())
    return _write(row, parse_name(name), wanted, shared, actor, Message("new view"))


def change(view: int, name: str, wanted: JobFilter, shared: bool, actor: str, admin: bool) -> int:
    """Give a view another name and filter. Raises ValidationError and ActionRefused."""
    row = _allowed(view, actor, admin)
    if not shared and row.made_by != actor:
        raise ActionRefused(_("Only its maker can keep a view to himself."))
    if not shared:
        _refuse_used(row)
    return _write(row, parse_name(name), wanted, shared, actor, Message("change view"))


def _write(row: SavedView, name: str, wanted: JobFilter, shared: bool, actor: str, action: Message) -> int:
    if not wanted.query:
        raise ValidationError(_("Set a filter first: a view of all jobs needs no name."))
    owner = "" if shared else row.made_by
    others = db.session.execute(select(SavedView.id, SavedView.name).where(SavedView.owner.in_(("", row.made_by))))
    if any(other.id != row.id and other.name.casefold() == name.casefold() for other in others):
        raise ValidationError(_("There is a view of this name already."))
    row.name, row.owner, row.query = name, owner, json.dumps(wanted.query, ensure_ascii=False)
    db.session.add(row)
    try:
        db.session.flush()
    except IntegrityError:  # saved twice at the same time
        db.session.rollback()
        raise ValidationError(_("There is a view of this name already.")) from None
    number = row.id
    commit_audited(actor, action, name, Message("for all") if shared else Message("for oneself"))
    return number


def delete(view: int, actor: str, admin: bool) -> str:
    """Delete a view; returns its name. Raises ActionRefused, also while an alert rule uses it."""
    row = _allowed(view, actor, admin)
    _refuse_used(row)
    name = row.name
    db.session.delete(row)
    commit_audited(actor, Message("delete view"), name, Message("done"))
    return name


def _refuse_used(row: SavedView) -> None:
    if rule := db.session.scalar(select(AlertRule.id).where(AlertRule.view_id == row.id).limit(1)):
        raise ActionRefused(_("The alert rule %(n)s uses this view: delete the rule, or give it another view, first.",
                              n=rule))


def _allowed(view: int, actor: str, admin: bool) -> SavedView:
    row = _row(view, actor)
    if not admin and row.made_by != actor:
        raise ActionRefused(_("Only its maker or an administrator can change this view."), forbidden=True)
    return row


def shared_views() -> list[tuple[int, str]]:
    """Id and name of the views for all: an alert rule can use these."""
    rows = db.session.execute(select(SavedView.id, SavedView.name).where(SavedView.owner == ""))
    return sorted(((row.id, row.name) for row in rows), key=lambda pair: pair[1].casefold())


def wanted(view: int | None, zone: Any) -> tuple[str, JobFilter]:
    """Name and filter of a view, for an alert rule. Raises LookupError when it is gone, ValidationError when its
    filter cannot be read."""
    row = db.session.get(SavedView, view) if view else None
    if row is None:
        raise LookupError(f"there is no view {view}")
    return row.name, JobFilter.read(stored_object(row.query), zone)
