"""What a sync job did with each content: counts and rows for pages, all rows for exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Engine

from app.extensions import db
from app.integrations.csv_cells import write_rows
from app.models import SyncAction
from app.services.content.content_list import STEP
from app.services.content.field_names import told
from app.services.content.link_views import web
from app.support.clock import iso, millis, when

ACTIONS = ("created", "updated", "accepted", "unchanged", "conflict", "gone", "refused", "would_create", "would_update")
COLUMNS = ("reference", "service", "action", "text", "url", "at")
SHOWN = 20  # rows on the page of a job


class ActionView(NamedTuple):
    """What a sync job did with a content, `text` in the reader's language."""

    id: int
    uuid: str
    content_id: int
    reference: str
    service: str
    action: str
    text: str
    url: str | None
    at: datetime | None


@dataclass(frozen=True)
class SyncReport:
    """What a sync job did: `counts` by action, in the order of ACTIONS, and its first rows."""

    counts: dict[str, int]
    rows: tuple[ActionView, ...]

    @property
    def total(self) -> int:
        """How many contents it has dealt with."""
        return sum(self.counts.values())


def report(uuid: str) -> SyncReport | None:
    """What a sync job did, with the first 20 rows; None when it has dealt with no content."""
    query = select(SyncAction.action, func.count()).where(SyncAction.uuid == uuid).group_by(SyncAction.action)
    found = {action: n for action, n in db.session.execute(query)}
    if not found:
        return None
    names = [*(action for action in ACTIONS if action in found), *sorted(found.keys() - set(ACTIONS))]
    return SyncReport({name: found[name] for name in names}, tuple(actions(uuid, limit=SHOWN)))


def actions(uuid: str, action: str = "", after: int | None = None, limit: int = 50) -> list[ActionView]:
    """At most `limit` rows of a sync job in the order of its contents, behind content `after`; '' means all actions."""
    return [_action(row) for row in db.session.execute(_rows(uuid, action, after, limit))]


def _rows(uuid: str, action: str, after: int | None, limit: int) -> Any:
    a = SyncAction
    query = select(a.id, a.uuid, a.content_id, a.reference, a.service, a.action, a.text, a.text_json, a.url, a.at_ms)
    query = query.where(a.uuid == uuid, *([a.action == action] if action else ()))
    return query.where(*([] if after is None else [a.content_id > after])).order_by(a.content_id).limit(limit)


def _action(row: Any) -> ActionView:
    *columns, text, stored, url, at = row
    return ActionView(*columns, told(text, stored), web(url), when(at))


def iterate(engine: Engine, uuid: str, action: str = "") -> Iterator[dict[str, Any]]:
    """All rows of a sync job as COLUMNS, times in UTC. Each transaction reads 500: a slow download must not hold one
    open."""
    after, rows = None, None
    while rows is None or len(rows) == STEP:
        with engine.connect().execution_options(begin="BEGIN") as connection:
            rows = [_action(row) for row in connection.execute(_rows(uuid, action, after, STEP))]
        for row in rows:
            yield {name: getattr(row, name) for name in COLUMNS[:-1]} | {"at": row.at and iso(millis(row.at))}
        after = rows[-1].content_id if rows else after


def as_csv(engine: Engine, uuid: str, action: str = "") -> Iterator[str]:
    """The rows of a sync job as lines of CSV."""
    def lines() -> Iterator[tuple]:
        yield COLUMNS
        for row in iterate(engine, uuid, action):
            yield tuple(row.values())
    return write_rows(lines())
