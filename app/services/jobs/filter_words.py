"""A filter of the list in words, and what its fields suggest.

JobFilter -> `parts`, a sentence for each part that is set; the tables -> `suggestions`, names that occur in jobs
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import Audit, Deploy, ErrorGroup, JobHistory, RollupTenant, WorkerHeartbeat
from app.services.jobs import filter_sql, payloads
from app.services.jobs.job_filter import ARGS, JobFilter
from app.support import privacy
from app.support.clock import DAY_MS, now_ms, when
from app.support.formatting import duration, filesize, localtime, number
from app.support.messages import from_row, translate as _, translate_stored
from app.support.redaction import printable, redact
from app.support.states import state_label

MOST_SUGGESTED, MOST_TEXT = 200, 80


def parts(wanted: JobFilter, action_label: Callable[[str], str] | None = None) -> dict[str, str]:
    """{name of the part in the address: its sentence}, without the order. `action_label` says what an action of the log
    does."""
    told = {name: _TELL[name](wanted, value) for name, value in wanted.query.items() if name in _TELL}
    row = db.session.get(Audit, int(wanted.action)) if wanted.action and action_label else None
    if row and action_label:
        told["action"] = _("Touched by action %(n)s: %(action)s, %(name)s", n=wanted.action, name=short(row.actor),
                           action=short(action_label(row.action)))
    return told | {f"{ARGS}{name}": _("Argument %(name)s is %(value)s", name=short(name), value=short(text))
                   for name, text in wanted.args}


def short(text: str | None) -> str:
    """A name or text of at most 80 characters, without secrets and without signs that nobody sees."""
    text = redact(printable(text or ""))
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def group_label(name: str) -> str:
    """A state or a group of states, in words."""
    return {"live": _("Live"), "ended": _("Ended"), "unsuccessful": _("Failed or timed out"), "bin": _("In the bin"),
            "undecided": _("Failed, to be decided")}.get(name) or state_label(name)


def hold_label(name: str) -> str:
    """What holds a job, in words."""
    return {"limit": _("a limit"), "person": _("a person"), "type": _("the pause of its type"),
            "budget": _("a budget"), "batch": _("its batch"), "overlap": _("the run before")}.get(name, name)


def sort_label(name: str) -> str:
    """An order of the list, in words."""
    return {"": _("Live ones first, then by when they ended"), "when": _("Oldest first"),
            "-run": _("Longest run time first"), "run": _("Shortest run time first"),
            "-wait": _("Longest wait first"), "wait": _("Shortest wait first"),
            "-memory": _("Most memory first"), "memory": _("Least memory first")}[name]


def _moment(wanted: JobFilter, name: str) -> str:
    text = getattr(wanted, name)
    if "T" not in text:
        return text
    return _local(wanted.moment(name)) or text


def _local(ms: int) -> str:
    at = localtime(when(ms))
    return at.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00") if at else ""


def _error(_wanted: JobFilter, key: str) -> str:
    row = db.session.get(ErrorGroup, key[:16])
    return _("Error: %(text)s", text=short((row and row.title) or key))


def _attempts(wanted: JobFilter, text: str) -> str:
    least, most = wanted.attempts()
    if most >= 10**6:
        return _("%(n)s attempts or more", n=number(least))
    return _("Attempts: %(n)s", n=number(least) if least == most else f"{number(least)}–{number(most)}")


def _waited(wanted: JobFilter, _text: str) -> str:
    least, below = duration(wanted.amount("waited")), wanted.waited_below()
    if below is None:
        return _("Waited at least %(time)s", time=least)
    return _("Waited from %(least)s to under %(below)s", least=least, below=duration(below))


def _action(_wanted: JobFilter, text: str) -> str:
    row = db.session.get(Audit, int(text))
    if row is None:
        return _("Touched by action %(n)s", n=text)
    return _("Touched by action %(n)s: %(action)s, %(name)s", n=text, name=short(row.actor),
             action=short(translate_stored(from_row(row.action, row.action_json))))


def _rescued(wanted: JobFilter, _text: str) -> str:
    if not (between := wanted.between("rescued")):
        return _("Rescued: an attempt was lost with its worker")
    start, end = (_local(at) for at in between)
    return _("Lost with its worker between %(start)s and %(end)s", start=start, end=end)


def _failed(wanted: JobFilter, _text: str) -> str:
    start, end = (_local(at) for at in wanted.between("failed") or (0, 0))
    return _("Failed between %(start)s and %(end)s", start=start, end=end)


def _outcome(wanted: JobFilter, _text: str) -> str:
    start, end = (_local(at) for at in wanted.between("outcome") or (0, 0))
    return _("Completed or failed between %(start)s and %(end)s", start=start, end=end)


def _deploy(_wanted: JobFilter, text: str) -> str:
    row = db.session.get(Deploy, int(text))
    return _("Since the deploy %(text)s", text=_of_deploy(row) if row else text)


def _of_deploy(row: Deploy) -> str:
    return short((row.text if row.actor else translate_stored(row.text)) or row.version)


_TELL: dict[str, Any] = {
    "state": lambda _w, text: _("State: %(name)s", name=group_label(text)),
    "queue": lambda _w, text: _("Queue: %(name)s", name=short(text)),
    "type": lambda _w, text: _("Type: %(name)s", name=short(registry.label_of(text))),
    "tenant": lambda _w, text: _("Tenant: %(name)s", name=short(text)),
    "batch": lambda _w, text: _("Batch: %(name)s", name=short(text[:8])),
    "since": lambda wanted, _t: _("From %(time)s", time=_moment(wanted, "since")),
    "until": lambda wanted, _t: _("To %(time)s", time=_moment(wanted, "until")),
    "q": lambda _w, text: _("Search: %(text)s", text=short(text)),
    "hold": lambda _w, text: _("Held by %(name)s", name=hold_label(text)),
    "error": _error,
    "worker": lambda _w, text: _("Ran on %(name)s", name=short(text)),
    "attempt": _attempts,
    "longer": lambda wanted, _t: _("Run time at least %(time)s", time=duration(wanted.amount("longer"))),
    "shorter": lambda wanted, _t: _("Run time under %(time)s", time=duration(wanted.amount("shorter"))),
    "waited": _waited,
    "heavier": lambda wanted, _t: _("Memory at least %(size)s", size=filesize(wanted.amount("heavier"))),
    "code": lambda _w, text: _("Code version %(name)s", name=short(text)),
    "rescued": _rescued, "failed": _failed, "outcome": _outcome,
    "clock": lambda wanted, text: _("Between %(start)s and %(end)s", start=text[:5], end=text[6:]),
    "action": _action, "deploy": _deploy}


def suggestions(wanted: JobFilter) -> dict[str, list[str]]:
    """Names that the fields `tenant`, `worker`, `code` and `args` suggest, at most 200 of each: those of the jobs of
    the last two days, of workers, and of arguments that known types take or the newest jobs have."""
    tx, recent = SessionExecutor(db.session), now_ms() - 2 * DAY_MS
    tenants = db.session.scalars(
        select(RollupTenant.tenant_id).where(RollupTenant.hour >= recent, RollupTenant.tenant_id != "").distinct()
        .limit(MOST_SUGGESTED))
    workers = db.session.scalars(select(WorkerHeartbeat.worker_name).limit(MOST_SUGGESTED))
    types = [known for known in registry.known_types() if wanted.type in ("", known.name)]
    newest = select(payloads.head(JobHistory.payload)).order_by(JobHistory.id.desc()).limit(50)
    if wanted.type:
        newest = newest.where(JobHistory.job_type == wanted.type, JobHistory.id > _some_back())
    names = {name for head in db.session.scalars(newest) for name in payloads.names(head)}
    return {"tenant": sorted(set(tenants)), "worker": sorted({*workers, *filter_sql.names(tx, "worker")}),
            "code": filter_sql.names(tx, "code_version"),
            "args": privacy.shown(sorted(names | {field.name for known in types for field in known.fields}), [])
                    [:MOST_SUGGESTED]}


def _some_back() -> int:
    """An id that leaves the newest 10,000 finished jobs."""
    newest = db.session.scalar(select(JobHistory.id).order_by(JobHistory.id.desc()).limit(1))
    return (newest or 0) - 10_000


def deploys(most: int = 30) -> list[tuple[str, str]]:
    """The latest deploys: id, and time with text."""
    rows = db.session.scalars(select(Deploy).order_by(Deploy.id.desc()).limit(most))
    return [(str(row.id), f"{localtime(when(row.at_ms)):%d.%m. %H:%M} · {_of_deploy(row)}")
            for row in rows if when(row.at_ms)]
