"""Values for the templates of the workers: their rows with the commands that each can take, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import url_for
from flask_babel import gettext as _

from app import registry
from app.extensions import db
from app.ledger import workforce
from app.ledger.dialect import SessionExecutor
from app.services.stats import workers
from app.support.clock import when
from app.support.formatting import number
from app.support.messages import translate_stored
from app.support.settings import settings

MOST_LINES = 5


@dataclass(frozen=True)
class WorkerRow(workers.WorkerView):
    """A worker with the address of its restart, and the address of each command by name."""

    restart_url: str | None
    commands: dict[str, str]


def workers_context(seen: workforce.Workforce) -> list[WorkerRow]:
    """The workers, the worst health first, with the commands that each can take now."""
    rows = []
    for w in workers.workers(settings().worker_memory_mb, seen):
        alive = w.status != "stopped"
        offered = ["start"] if w.can_start and w.command is None else []
        if alive:
            offered = ["resume" if w.command == "quiet" else "quiet", "stop"]
            offered += ["kill"] if w.health in ("stuck", "unresponsive") else []
        rows.append(WorkerRow(**vars(w), restart_url=url_for("admin.jobs.workers.restart", id=w.id) if alive else None,
                              commands={c: url_for("admin.jobs.workers.command", id=w.id, command=c) for c in offered}))
    return rows


def workers_page() -> dict[str, Any]:
    """The page of workers: their rows, what is wrong, and how many should run (None: not known)."""
    seen = workforce.look(SessionExecutor(db.session))
    lines = worker_lines([vars(trouble) for trouble in seen.troubles], home=None)
    return {"workers": workers_context(seen), "troubles": lines, "expected": seen.expected}


def worker_lines(troubles: list[dict[str, Any]], home: str | None) -> list[dict[str, Any]]:
    """One red line for each missing, frozen, stuck or silent worker, up to five, and a line for the others. `home` is
    the link of those that have no job."""

    lines = [{"name": t["name"], "text": f"{translate_stored(t['why']).rstrip('.')}.",
              "since": when(t["since_ms"]), "level": "critical",
              "url": url_for("admin.jobs.job", uuid=t["uuid"]) if t["uuid"] else home,
              "url_label": registry.label_of(t["job_type"]) if t["uuid"] else _("Workers"),
              "heard": t["kind"] not in ("missing", "stuck")}
             for t in troubles[:MOST_LINES]]
    if more := sum(t["count"] for t in troubles[MOST_LINES:]):
        lines.append({"name": _("Workers"), "text": _("and %(n)s more.", n=number(more)), "url": home,
                      "level": "critical"})
    return lines
