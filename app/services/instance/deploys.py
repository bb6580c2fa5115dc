"""Deploys: moments from which other code runs, marked by people, and by the monitor when the workers run other code.

live workers (revision, code version) -> `watch` (the monitor, each 5 s) -> a row, and the fact `code_of_workers`
a form, `deploy-mark` -> `mark` -> a row        rows -> pages; `on_chart` -> lines on the charts over time
The fact changes only if it is as it was read, so several monitors write one row. A damaged fact is begun anew.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.ledger.dialect import Connection
from app.models import Deploy
from app.models.types import as_integer, as_text
from app.services.audit import audit
from app.support.clock import DAY_MS, MINUTE_MS, midnight, millis, now_ms, when
from app.support.formatting import at
from app.support.messages import Message, translate as _, translate_stored
from app.support.redaction import printable, redact
from app.support.settings import settings
from app.support.validation import ValidationError, check_line, stored_object

KEY = "code_of_workers"  # {"version": marked last, "seen": {version: last seen alive}, "only": [version, since]}
FORGET_MS, SETTLED_MS = 10 * MINUTE_MS, MINUTE_MS
MOST_TEXT, MOST_ON_CHART = 200, 100
KEEP_DAYS, KEEP_ROWS = 400, 2000
_LIVE = """SELECT revision, code_version FROM worker_heartbeats WHERE status <> 'stopped' AND stale = 0
 AND code_version IS NOT NULL ORDER BY id DESC"""
_NEW = "INSERT INTO deploys (at_ms, text, actor, version) VALUES (:at, :text, NULL, :version)"
_CHANGE = "UPDATE meta SET value = :to, at_ms = :at WHERE key = :key AND value = :was"
_BEGIN = "INSERT INTO meta (key, value, at_ms) VALUES (:key, :to, :at) ON CONFLICT (key) DO NOTHING"


@dataclass(frozen=True)
class DeployView:
    """A deploy, in the reader's language. `actor` is None when the monitor saw it. `at_ms` is `at` in ms."""

    id: int
    at_ms: int
    at: datetime | None
    text: str
    actor: str | None
    version: str | None


def short(version: str | None) -> str:
    """The version of job_metrics.code_version as people read it: 7 digits of the commit, else what was given."""
    given, dot, code = (version or "").rpartition(".")
    if not dot:
        return code
    return given[:7] if len(given) == 40 and given.isalnum() else given


def mark(text: str, actor: str) -> DeployView:
    """Write a deploy of now and commit it. Raises ValidationError for a blank or a long text."""
    text = check_line(text.strip())
    if not text:
        raise ValidationError(_("Say in a few words what was deployed."))
    if len(text) > MOST_TEXT:
        raise ValidationError(_("The text is longer than %(n)s characters.", n=MOST_TEXT))
    row = Deploy(at_ms=now_ms(), text=redact(text)[:255], actor=actor[:255])
    db.session.add(row)
    audit(actor, Message("mark deploy"), row.text, Message("done"))
    db.session.commit()
    return _view(row)


def newest(size: int = 1) -> list[DeployView]:
    """The newest deploys, the newest first."""
    query = select(Deploy).order_by(Deploy.at_ms.desc(), Deploy.id.desc()).limit(size)
    return [_view(row) for row in db.session.scalars(query)]


def one(number: int | None) -> DeployView | None:
    """A deploy by its id; None when there is none."""
    row = db.session.get(Deploy, number) if number is not None and 0 < number < 2**62 else None
    return row and _view(row)


def _view(row: Deploy) -> DeployView:
    text = redact(printable(row.text[:255]))
    return DeployView(row.id, row.at_ms, when(row.at_ms), text if row.actor else translate_stored(text) or "",
                      row.actor and row.actor[:255], row.version and row.version[:64])


# ---- charts --------------------------------------------------------------------------------------------------------


def on_chart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a chart over time, oldest first, each with its `deploys`: [{"at": "14:05", "text", "place"}], with
    `place` from 0 to 1 within the bucket, those that a person marked first. `date` of a row is the start of an hour or
    minute (2026-11-26T09:00:00Z) or a day (2026-11-26); other rows get no deploys."""
    starts = [_start(row.get("date")) for row in rows]
    if not rows or None in starts or starts != sorted(starts):
        return [row | {"deploys": []} for row in rows]
    step = starts[-1] - starts[-2] if len(starts) > 1 else DAY_MS
    ends = [*starts[1:], starts[-1] + step]
    query = select(Deploy).where(Deploy.at_ms >= starts[0], Deploy.at_ms < ends[-1]).order_by(Deploy.at_ms.desc())
    found: list[list[dict[str, Any]]] = [[] for _row in rows]
    shown = reversed([_view(row) for row in db.session.scalars(query.limit(MOST_ON_CHART))])
    for deploy in sorted(shown, key=lambda view: not view.actor):
        n = bisect_right(starts, deploy.at_ms) - 1
        place = (deploy.at_ms - starts[n]) / max(ends[n] - starts[n], 1)
        found[n].append({"at": at(deploy.at), "text": deploy.text, "place": round(place, 3)})
    return [row | {"deploys": some} for row, some in zip(rows, found, strict=True)]


def _start(text: object) -> int | None:
    try:
        return millis(datetime.fromisoformat(text)) if len(text) > 10 else midnight(
            date.fromisoformat(text), settings().timezone)
    except (TypeError, ValueError):
        return None


# ---- the monitor ---------------------------------------------------------------------------------------------------


def watch(connection: Connection) -> str | None:
    """Write a deploy when the live workers run other code than before; returns its version, or None."""
    live = []
    for revision, code in connection.fetch_all(_LIVE):
        revision, code = as_text(revision), as_text(code)
        live.append(f"{revision}.{code}"[:64] if revision else code[:64])
    rows = connection.fetch_all("SELECT value FROM meta WHERE key = :key", key=KEY)
    was, now = (rows[0][0] if rows else None), connection.now()
    memory, version = step(stored_object(was), list(dict.fromkeys(live)), now)
    text = json.dumps(memory, sort_keys=True)
    if memory is None or text == was:
        return None
    with connection.transaction() as tx:
        if was is None:
            changed = tx.execute(_BEGIN, key=KEY, to=text, at=now)
        else:
            changed = tx.execute(_CHANGE, key=KEY, to=text, at=now, was=was)
        if not changed or version is None:
            return None  # another monitor was first, or nothing is new
        tx.execute(_NEW, at=now, text=Message("Workers run %(version)s", version=short(version)), version=version)
    return version


def step(memory: dict[str, Any], live: list[str], now: int) -> tuple[dict[str, Any] | None, str | None]:
    """What the fact becomes (None: it stays), and the version to mark or None. `live` are the versions of the live
    workers, the newest worker first; `now` is in ms.

    A version is marked when a worker appears with it that no worker had within 10 minutes, so old and new workers
    beside each other mark once; or when all workers run it for a minute though another was marked last (a way back).
    """
    if not live:
        return None, None
    marked, only = memory.get("version"), memory.get("only")
    kept = memory.get("seen") if isinstance(memory.get("seen"), dict) else {}
    seen = {v: ms for v, ms in kept.items() if isinstance(ms, int) and ms <= now + FORGET_MS}
    looked = max(seen.values(), default=now)  # the last look: while no monitor runs, nothing is forgotten
    seen = {v: ms for v, ms in seen.items() if ms > looked - FORGET_MS}
    since = only[1] if isinstance(only, list) and len(only) == 2 and only[0] == live[0] else None
    since = since if isinstance(since, int) and since <= now else now
    only = None if len(live) > 1 else [live[0], since]
    new = next((v for v in live if v not in seen and v != marked), None)
    if new is None and only and only[0] != marked and now - since >= SETTLED_MS:
        new = only[0]
    # Written once a minute at most, unless something changes
    seen |= {v: now for v in live if now - seen.get(v, 0) >= MINUTE_MS}
    first = not isinstance(marked, str)
    return {"version": live[0] if first else new or marked, "seen": seen, "only": only}, None if first else new


def sweep(connection: Connection) -> None:
    """Delete deploys after 400 days, and all but the newest 2,000; the newest one stays."""
    with connection.transaction() as tx:
        newest_id = as_integer(tx.fetch_all("SELECT MAX(id) FROM deploys")[0][0])
        if newest_id is not None:
            tx.execute("DELETE FROM deploys WHERE id <= :least OR (at_ms < :old AND id <> :newest)",
                       least=newest_id - KEEP_ROWS, old=tx.now() - KEEP_DAYS * DAY_MS, newest=newest_id)
