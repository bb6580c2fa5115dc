"""The limits of job types: what the code declares, what a person sets, and what they hold back now.

worker starts -> `declare` writes what the code says
a person sets a limit (page, command) -> `change`: the row, its audit row and the keys of the running rows in one
transaction; each claim that begins after it obeys. The other rows get their keys in steps, here and by the monitor.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app import registry
from app.config import Settings
from app.extensions import db
from app.ledger import limit_keys, limits
from app.ledger.dialect import Connection, SessionExecutor
from app.ledger.limits import Limit, Per
from app.models import Job, JobLimit
from app.services.audit import audit
from app.support.clock import MINUTE_MS, when
from app.support.messages import Message, translate as _, translate_stored
from app.support.number_text import plain_number
from app.support.validation import ValidationError

MOST_CONCURRENCY, MOST_KEYS = 10_000, 5
UNITS = tuple(registry.UNITS_MS.items())[::-1]
AS_CODE = "code"


def declared(options: registry.Options, settings: Settings) -> Limit:
    """The limit of a type by its code; a rate may be a setting."""
    if options.rate == "OPENAI_RPM":
        rate = settings.openai_rpm, MINUTE_MS if settings.openai_rpm else 0
    else:
        rate = registry.parse_rate(options.rate) if options.rate else (0, 0)
    return Limit(options.concurrency, *rate, whole_type=int(options.rate_per == "type"))


def per_of(definition: registry.JobDefinition) -> Per:
    """What the limit of a type counts together."""
    per = definition.options.per
    default = next((f.default for f in definition.fields if f"args.{f.name}" == per), None)
    return Per(per, limit_keys.text_of(default) if default is not None else "")


def key_for(definition: registry.JobDefinition, tenant_id: str | None, args: dict[str, Any]) -> str | None:
    """The key of a job; None when the code declares no limit for its type."""
    if not definition.options.limited:
        return None
    return limits.key_of(definition.name, per_of(definition), tenant_id, args)


def declare(connection: Connection, settings: Settings) -> None:
    """Store the limits of this code; each worker that starts does so before its first claim."""
    types = registry.known_types()
    found = [(d.name, per_of(d), declared(d.options, settings)) for d in types if d.options.limited]
    with connection.transaction() as tx:
        limits.declare(tx, found, [d.name for d in types])


# ---- for people ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyView:
    """One of the keys that hold back most: its value (a tenant, an argument), jobs that run, starts in the window of
    the rate, and jobs that wait."""

    value: str
    running: int
    started: int
    waiting: int


@dataclass(frozen=True)
class LimitView:
    """The limit of a type now. `concurrency` and `rate` ("60/m") are None without a limit; `by_code` has what the code
    says, `set_by` who has set another one. `per` is "type", "tenant" or "args.NAME". `running` and `waiting` are
    exact numbers of jobs of the whole type, `started` its starts in the window of the rate (`rate_ms`); `rate_whole`:
    the rate counts the whole type."""

    name: str
    label: str
    per: str
    concurrency: int | None
    rate: str | None
    rate_count: int
    rate_ms: int
    rate_whole: bool
    by_code: tuple[int | None, str | None]
    set_by: str | None
    set_at: Any
    running: int
    started: int
    waiting: int
    keys: list[KeyView]

    @property
    def limited(self) -> bool:
        """Whether any limit counts."""
        return bool(self.concurrency or self.rate)


def rate_text(count: int | None, ms: int | None) -> str | None:
    """"60/m" for 60 starts in 60,000 ms; None without a rate."""
    if not count or not ms:
        return None
    unit, size = next(((unit, size) for unit, size in UNITS if ms % size == 0), ("s", 1000))
    n = ms // size
    return f"{count}/{'' if n == 1 else n}{unit}"


def listing() -> list[LimitView]:
    """The limits of the types that have or had one, by name."""
    rows = db.session.scalars(select(JobLimit).order_by(JobLimit.job_type))
    return [_view(row.job_type, row) for row in rows if _any(row)]


def of(name: str) -> LimitView:
    """The limit of a type, which need not have one."""
    return _view(name, db.session.get(JobLimit, name))


def _any(row: JobLimit) -> bool:
    values = row.concurrency, row.rate_count, row.set_concurrency, row.set_rate_count
    return any(value is not None for value in values)


def _view(name: str, row: JobLimit | None) -> LimitView:
    tx = SessionExecutor(db.session)
    limit = limits.of_type(tx, name)
    held = f"SELECT limit_key, COUNT(*) FROM jobs WHERE {limits.LIMITED} AND job_type = :t"
    waiting = dict(tx.fetch_all(f"{held} GROUP BY limit_key", t=name))
    running = dict(limits.running(tx, name))
    started = dict(limits.started(tx, name, limit.rate_ms)) if limit.rate_count else {}
    per = row.per if row else "type"
    most = sorted(waiting, key=lambda key: -waiting[key])[:MOST_KEYS] if per != "type" else []
    start = len(f"{name} {per}=")
    keys = [KeyView(key[start:], running.get(key, 0), started.get(key, 0), waiting[key]) for key in most]
    concurrency, count, ms = ((row.set_concurrency, row.set_rate_count, row.set_rate_ms) if row
                              else (None, None, None))
    by_code = (row.concurrency, rate_text(row.rate_count, row.rate_ms)) if row else (None, None)
    return LimitView(
        name, registry.label_of(name), per, limit.concurrency or None, rate_text(limit.rate_count, limit.rate_ms),
        limit.rate_count, limit.rate_ms, bool(limit.rate_count and limit.whole_type), by_code,
        row.set_by if row and (concurrency, count) != (None, None) else None, when(row.set_at_ms) if row else None,
        sum(running.values()), sum(started.values()),
        sum(waiting.values()), keys)


def parse_concurrency(text: str) -> int | None:
    """A number of jobs; 0 for "none" or nothing, None for "code" (as the code says). Raises ValidationError."""
    text = text.strip().lower()
    if text == AS_CODE:
        return None
    if text in ("", "none"):
        return 0
    text = plain_number(text)
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MOST_CONCURRENCY):
        raise ValidationError(_(
            "Write a whole number from 1 to %(n)s, or none for no limit.", n=MOST_CONCURRENCY))
    return int(text)


def parse_rate(text: str) -> tuple[int, int] | None:
    """(starts, ms); (0, 0) for "none" or nothing, None for "code" (as the code says). Raises ValidationError."""
    text = text.strip().lower()
    if text == AS_CODE:
        return None
    if text in ("", "none"):
        return 0, 0
    try:
        return registry.parse_rate(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def sentences(name: str) -> list[str]:
    """What a page says about the limit of a type; [] without one."""
    limit, per = limit_keys.stored(SessionExecutor(db.session), name) or (Limit(), Per())
    said = [limit.at_once(per)] * bool(limit.concurrency) + [limit.in_time(per)] * bool(limit.rate_count)
    return [translate_stored(sentence) or "" for sentence in said]


def parse_name(name: str) -> str:
    """The name of a job type that is known here, has a limit or has live jobs. Raises ValidationError."""
    name = name.strip()
    if not (registry.find(name) or db.session.get(JobLimit, name)
            or db.session.scalar(select(Job.id).where(Job.job_type == name).limit(1))):
        raise ValidationError(_("There is no such job type."))
    return name


def unlike_code(name: str, concurrency: int | None, rate: tuple[int, int] | None) -> dict[str, Any]:
    """The values of a form that has both fields: one that is what the code says is not set by a person."""
    by_code = of(name).by_code
    return {"concurrency": None if (concurrency or None) == by_code[0] else concurrency,
            "rate": None if rate_text(*rate or (0, 0)) == by_code[1] else rate}


def change(name: str, actor: str, **given: Any) -> None:
    """Set the limits of a type: `concurrency` (0: no limit) and `rate` ((0, 0): no limit), each None for "as the code
    says"; what is not given stays. Each claim that begins after it obeys."""
    tx, definition, row = SessionExecutor(db.session), registry.find(name), db.session.get(JobLimit, name)
    concurrency = given.get("concurrency", row.set_concurrency if row else None)
    kept = (row.set_rate_count, row.set_rate_ms or 0) if row and row.set_rate_count is not None else None
    rate = given.get("rate", kept)
    limit_keys.set_by_person(tx, name, actor[:255], concurrency, rate, per_of(definition) if definition else Per())
    by_code, none = Message("as the code says"), Message("no limit")
    audit(actor, Message("set limit"), name, Message(
        "at once: %(n)s; starts: %(rate)s", n=by_code if concurrency is None else concurrency or none,
        rate=by_code if rate is None else rate_text(*rate) or none))
    db.session.commit()
    url = db.engine.url.render_as_string(hide_password=False)
    with closing(Connection(url, synchronous="FULL")) as connection:
        limit_keys.key_rows(connection)
        for key in limits.held_keys(connection, name):
            limits.free(connection, name, key)
