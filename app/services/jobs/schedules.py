"""The schedules there are: those that the code declares, and those that people make on the page (table `schedules`).

everything(tx) -> Planned, by name: pages, alerts and the monitor read schedules nowhere else
make, change, retime, delete: one transaction with the row of the log of actions; the minutes before it are not due
Failure cases: a name in both (the code's runs, the page says so), a row whose type is unknown here or whose arguments
fit no more (`ready` says why; its runs are missed), a row without job_type whose declaration is gone (it is shown, and
never due), two people at once (`seen`), a row with values of any type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.executor import Executor
from app.ledger.rows import insert
from app.models.types import as_integer, as_text
from app.registry import InvalidArguments, JobDefinition
from app.services.audit import ActionRefused, audit
from app.services.jobs.actions import not_from_web
from app.support.clock import now_ms
from app.support.crontab import check_cron, moments
from app.support.messages import Message, tell, translate as _
from app.support.redaction import printable
from app.support.validation import ValidationError, check_line, stored_json

MOST, MOST_NAME = 500, 80  # schedules of the page; characters of a name
COLUMNS = "name cron job_type args queue tenant_id overlap catch_up changed_by changed_ms".split()
_ROWS = f"SELECT {', '.join(COLUMNS)} FROM schedules ORDER BY name"
_ROW = f"SELECT {', '.join(COLUMNS)} FROM schedules WHERE name = :name"
_INSERT = insert("schedules", COLUMNS, "DO NOTHING")
_CHANGE = """UPDATE schedules SET cron = :cron, args = :args, queue = :queue, tenant_id = :tenant_id,
 overlap = :overlap, catch_up = :catch_up, changed_by = :changed_by, changed_ms = :changed_ms
 WHERE name = :name AND job_type IS NOT NULL AND changed_ms = :seen"""
_RETIME = insert("schedules", COLUMNS, "(name) DO UPDATE SET cron = excluded.cron, changed_by = excluded.changed_by, "
                                       "changed_ms = excluded.changed_ms WHERE schedules.job_type IS NULL")
_BEGIN = insert("recurring", ["name", "enabled", "since_ms", "looked_ms", "changed_by"],
                "(name) DO UPDATE SET looked_ms = excluded.looked_ms", enabled="1", since_ms=":looked_ms")
_ANEW = ", enabled = 1, missed_ms = NULL, missed_at_ms = NULL, changed_by = excluded.changed_by"


@dataclass(frozen=True)
class Planned:
    """A schedule. `declared` is that of the code, or None. `job_type` is None where a row retimes a schedule that the
    code declares no more. `args` is JSON for one of the page. `retimed`: its time is not the code's; `shadowed`: a row
    of the page has the name too. `changed_by` and `changed_ms` are those of the row."""

    name: str
    cron: str
    job_type: str | None
    args: Any
    queue: str | None
    tenant_id: str | None
    overlap: str
    catch_up: bool
    changed_by: str | None = None
    changed_ms: int = 0
    declared: registry.Schedule | None = None
    retimed: bool = False
    shadowed: bool = False

    @property
    def definition(self) -> JobDefinition | None:
        """The type as the code declares it, without the options of this schedule; None when it is unknown here."""
        return registry.find(self.job_type or "") if self.declared is None else self.declared.definition

    @property
    def given(self) -> dict[str, Any]:
        """The arguments; {} where a row holds none."""
        found = stored_json(self.args) if self.declared is None else self.declared.args
        return found if isinstance(found, dict) else {}

    def ready(self) -> tuple[JobDefinition, dict[str, Any]]:
        """The type with its options, and the arguments. Raises ValidationError and InvalidArguments: its runs cannot
        be dispatched."""
        if self.declared is not None:
            return self.declared.definition, self.declared.args
        if self.job_type is None:
            raise ValidationError(_("The code declares no schedule of this name any more. Delete its time."))
        check_cron(self.cron)
        if self.definition is None:
            raise ValidationError(_("No code declares the type %(name)s here.", name=self.job_type))
        if not self.definition.options.web:
            raise ValidationError(not_from_web(self.definition))
        args = self.definition.fit(stored_json(self.args))
        return self.definition.with_options(queue=self.queue, tenant_id=self.tenant_id), args

    @property
    def trouble(self) -> str | None:
        """Why its runs cannot be dispatched, in the reader's language; None when they can."""
        try:
            self.ready()
        except (ValidationError, InvalidArguments) as error:
            return tell(error)
        return None


def everything(tx: Executor) -> list[Planned]:
    """All schedules by name."""
    rows = {(row := _row(values))["name"]: row for values in tx.fetch_all(_ROWS)}
    found = [_declared(schedule, rows.pop(schedule.name, None)) for schedule in registry.schedules()]
    return sorted([*found, *(Planned(**row) for row in rows.values())], key=lambda plan: plan.name)


def current(tx: Executor, name: str) -> Planned | None:
    """The schedule of this name as it is now; None when there is none."""
    row = next((_row(values) for values in tx.fetch_all(_ROW, name=name)), None)
    declared = next((schedule for schedule in registry.schedules() if schedule.name == name), None)
    return _declared(declared, row) if declared else Planned(**row) if row else None


def listed() -> list[Planned]:
    """All schedules by name, as the session of the request sees them."""
    return everything(SessionExecutor(db.session))


def find(name: str) -> Planned:
    """The schedule of this name. Raises ActionRefused when there is none."""
    found = next((plan for plan in listed() if plan.name == name), None)
    if found is None:
        raise ActionRefused(_("There is no such recurring job."), unknown=True)
    return found


def _row(values: tuple) -> dict[str, Any]:
    row = dict(zip(COLUMNS, values, strict=True))
    for column in set(COLUMNS) - {"catch_up", "changed_ms"}:
        text = as_text(row[column])
        row[column] = (text or "") if column in ("name", "args") else text and printable(text)
    overlap = row["overlap"] if row["overlap"] in registry.OVERLAPS else "skip"
    return row | {"overlap": overlap, "catch_up": bool(as_integer(row["catch_up"], 0)), "cron": row["cron"] or "",
                  "changed_ms": as_integer(row["changed_ms"], 0)}


def _declared(schedule: registry.Schedule, row: dict[str, Any] | None) -> Planned:
    given = schedule.definition.given
    retimed = row is not None and row["job_type"] is None
    by = {name: row[name] for name in ("changed_by", "changed_ms")} if row else {}
    return Planned(schedule.name, row["cron"] if retimed else schedule.cron, schedule.definition.name, schedule.args,
                   given.get("queue"), given.get("tenant_id"), schedule.overlap, schedule.catch_up, **by,
                   declared=schedule, retimed=retimed, shadowed=row is not None and not retimed)


def parse_name(text: str) -> str:
    """The name of a new schedule. Raises ValidationError for one that is bad or taken."""
    name = " ".join(check_line(text).split())
    if not 1 <= len(name) <= MOST_NAME or "/" in name or "\\" in name or not name.strip("."):
        raise ValidationError(_("A name has 1 to %(n)s characters, without slashes.", n=MOST_NAME))
    plans = listed()
    if any(plan.name == name for plan in plans):
        raise ValidationError(_("There is a schedule of this name already."))
    if sum(plan.declared is None for plan in plans) >= MOST:
        raise ValidationError(_("There are %(n)s schedules of the page already. Delete one first.", n=MOST))
    return name


def parse_cron(text: str, zone: Any) -> str:
    """A crontab time that comes again. Raises ValidationError."""
    cron = check_cron(text)
    if next(moments(cron, zone, now_ms()), None) is None:
        raise ValidationError(_("This time never comes."))
    return cron


def parse_overlap(text: str) -> str:
    """What becomes of a run while an earlier one is live; "skip" for a blank text. Raises ValidationError."""
    if text and text not in registry.OVERLAPS:
        raise ValidationError(_("Use skip, wait or allow."))
    return text or "skip"


def make(name: str, definition: JobDefinition, args: dict[str, Any], actor: str, **options: Any) -> None:
    """Write a schedule and commit. `options`: cron, queue, tenant_id, overlap, catch_up, all parsed. Raises
    ValidationError and InvalidArguments."""
    definition.accept(args, options["tenant_id"])
    tx, now = SessionExecutor(db.session), now_ms()
    tx.lock_key("schedules")
    row = _values(parse_name(name), definition.name, args, actor, now, options)
    if not tx.execute(_INSERT, **row):
        raise ValidationError(_("There is a schedule of this name already."))
    tx.execute(_BEGIN + _ANEW, name=name, looked_ms=now, changed_by=actor[:255])
    _done(actor, Message("make a schedule"), name, _brief(row))


def change(plan: Planned, seen: int, args: dict[str, Any], actor: str, **options: Any) -> None:
    """Change a schedule of the page, as it was at `seen` (its `changed_ms`), and commit. Options and errors as in
    `make`."""
    plan.definition.accept(args, options["tenant_id"])
    tx, now = SessionExecutor(db.session), max(now_ms(), plan.changed_ms + 1)
    row = _values(plan.name, plan.job_type, args, actor, now, options)
    _unless_changed(plan, tx.execute(_CHANGE, **row, seen=seen))
    if row["cron"] != plan.cron:
        tx.execute(_BEGIN, name=plan.name, looked_ms=now_ms(), changed_by=None)
    brief = {"before": _brief(vars(plan)), "after": _brief(row)}
    _done(actor, Message("change a schedule"), plan.name,
          Message("%(before)s → %(after)s", **brief) if stored_json(plan.args) == args
          else Message("%(before)s → %(after)s, with other arguments", **brief))


def retime(plan: Planned, seen: int, cron: str, actor: str) -> None:
    """Give a declared schedule another time, as it was at `seen`, or with its own `cron` the code's again; commits.
    Raises ValidationError and ActionRefused."""
    if plan.declared is None or plan.shadowed:
        raise ActionRefused(_("A schedule of the page has this name too. Delete that one first."))
    tx = SessionExecutor(db.session)
    db.session.rollback()  # what was read so far is older than the lock
    tx.lock_key("schedules")
    plan = find(plan.name)
    _unless_changed(plan, plan.changed_ms == seen and plan.declared is not None and not plan.shadowed)
    now = max(now_ms(), plan.changed_ms + 1)
    if cron == plan.declared.cron:
        tx.execute("DELETE FROM schedules WHERE name = :name AND job_type IS NULL", name=plan.name)
    else:
        options = {"cron": cron, "queue": None, "tenant_id": None, "overlap": "skip", "catch_up": False}
        _unless_changed(plan, tx.execute(_RETIME, **_values(plan.name, None, {}, actor, now, options)))
    tx.execute(_BEGIN, name=plan.name, looked_ms=now_ms(), changed_by=None)
    result = Message("%(before)s → %(after)s", before=plan.cron, after=cron)
    _done(actor, Message("retime a schedule"), plan.name, result)


def reset(plan: Planned, actor: str) -> None:
    """Give a declared schedule the code's time again, and commit. Raises ActionRefused for one that is not retimed."""
    if plan.declared is None or not plan.retimed:
        raise ActionRefused(_("It has the code's time."))
    retime(plan, plan.changed_ms, plan.declared.cron, actor)


def delete(plan: Planned, actor: str) -> None:
    """Delete what the page has of a schedule, and commit; its history stays. Raises ActionRefused for one that is
    only declared."""
    tx = SessionExecutor(db.session)
    tx.lock_key("schedules")
    if not tx.execute("DELETE FROM schedules WHERE name = :name", name=plan.name):
        raise ActionRefused(_("The code declares this schedule. Switch it off instead."))
    if plan.declared is None:
        tx.execute("DELETE FROM recurring WHERE name = :name", name=plan.name)
    _done(actor, Message("delete a schedule"), plan.name, plan.cron if plan.declared else _brief(vars(plan)))


def _values(name: str, job_type: str | None, args: dict[str, Any], actor: str, now: int,
            options: dict[str, Any]) -> dict[str, Any]:
    return options | {"name": name, "job_type": job_type, "args": json.dumps(args, ensure_ascii=False),
                      "catch_up": int(options["catch_up"]), "changed_by": actor[:255], "changed_ms": now}


def _unless_changed(plan: Planned, done: object) -> None:
    if not done:
        db.session.rollback()
        raise ValidationError(_("%(name)s has changed this schedule meanwhile. Look at it again, then save.",
                                name=find(plan.name).changed_by or "?"))


def _brief(row: dict[str, Any]) -> str:
    """A schedule in a line of the log of actions, in words of no language."""
    catch_up = "catch_up" if row["catch_up"] else None
    parts = (row["cron"], row["job_type"], row["queue"], row["tenant_id"], row["overlap"], catch_up)
    return " · ".join(filter(None, parts))


def _done(actor: str, action: str, name: str, result: str) -> None:
    audit(actor, action, name, result)
    db.session.commit()
