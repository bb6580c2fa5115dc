"""What the templates of the dashboard and of a job are given."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import request, url_for
from flask_babel import format_date, ngettext
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES, ROOT
from app.models.job import LIVE_STATES
from app.services.alerts.incident_views import open_alerts
from app.services.content import contents, costs, generation_pages
from app.services.jobs import lookup, uploads
from app.services.jobs.actions import EDITABLE
from app.services.jobs.views import AttemptView, JobView, Progress
from app.services.stats import workers
from app.services.stats.job_monitoring import JobMonitoringService, recent_events
from app.support import disk
from app.support.clock import DAY_MS, millis, now_ms
from app.support.formatting import duration, localtime, number
from app.support.messages import Message, translate_stored
from app.support.settings import settings
from app.support.tracebacks import parse_traceback

MOST_STRIPS, MOST_JSON = 3, 1_000_000
service = JobMonitoringService()
STEPS = {"pending": ("top", "hold", "delay", "move"), "scheduled": ("hold", "delay", "move"), "held": ("release", "move"), "blocked": ("move",),
         "processing": ("stop",), "bin": ("restore", "erase")}  # what the job page offers in each state, besides retry, cancel and delete


def dashboard_context(pulse: dict[str, Any], period: str) -> dict[str, Any]:
    """The whole dashboard: its live parts and, which its poll leaves out, the charts of a period."""
    parts = dashboard_parts(pulse, period)
    return parts | {"types": service.get_metrics(period, group="type"), "period": period,
                    "first_run": not (parts["failed"]["rows"] or parts["queued"]["rows"] or service.has_history())}


def dashboard_parts(pulse: dict[str, Any], period: str = "24h") -> dict[str, Any]:
    """The live parts: figures, the first rows of both tables and the lines of what went wrong lately."""
    stats = pulse["stats"]
    queued, failed = lookup.queued(), lookup.failed()
    failed = [replace(row, error=translate_stored(row.error)) for row in failed]
    live = stats["jobs"]
    return {
        "stats": stats,
        "queued": {"rows": queued, "total": max(sum(live[s] for s in LIVE_STATES), len(queued))},
        "failed": {"rows": failed, "total": max(live["failed"], len(failed)),
                   "max_id": max((r.id for r in failed), default=0)},
        "notices": notices(pulse["monitor"]), "alerts": alert_banners(), "costs": costs.sums(),
        "timeline": labelled(service.get_metrics(period)),
    }


def labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bucket with its label: '14:00' of an hour in APP_TIMEZONE, '23 Nov' of a day.

    Where the clocks change, an hour of the day comes twice within the last 24: '02:00 CEST' and '02:00 CET'.
    """
    labels = [bucket_label(row["date"]) for row in rows]
    return [row | {"label": label if labels.count(label) == 1 else bucket_label(row["date"], "%H:%M %Z")}
            for row, label in zip(rows, labels, strict=True)]


def bucket_label(date: str, form: str = "%H:%M") -> str:
    moment = datetime.fromisoformat(date)
    if len(date) > 10:
        return localtime(moment).strftime(form)
    return format_date(moment, "d MMM")


@dataclass(frozen=True)
class WorkerRow(workers.WorkerView):
    """A worker with the address of its restart, and of each command by its name."""

    restart_url: str | None
    commands: dict[str, str]


def workers_context() -> list[WorkerRow]:
    """The workers, worst first, with what can be done with each now."""
    rows = []
    for w in workers.workers(settings().worker_memory_mb):
        alive = w.status != "stopped"
        if alive:
            offered = ["resume" if w.command == "quiet" else "quiet", "stop"]
            offered += ["kill"] if w.health in ("stuck", "unresponsive") else []
        else:
            offered = ["start"] if w.can_start and w.command is None else []
        rows.append(WorkerRow(**vars(w), restart_url=url_for("admin.jobs.workers.restart", id=w.id) if alive else None,
                              commands={c: url_for("admin.jobs.workers.command", id=w.id, command=c) for c in offered}))
    return rows


def alert_banners() -> list[dict[str, Any]]:
    """Open alerts that nobody has taken or silenced, the worst first."""
    home = url_for("admin.jobs.alerts.index")
    rows = [a for a in open_alerts() if not a.quiet]
    lines = [{"name": a.name, "text": a.text, "since": a.opened_at, "url_label": _("Look"),
              "url": request.script_root + a.link if a.link else home, "level": a.severity} for a in rows[:MOST_STRIPS]]
    if len(rows) > MOST_STRIPS:
        text = ngettext("%(n)s more alert is open.", "%(n)s more alerts are open.", len(rows) - MOST_STRIPS, n=number(len(rows) - MOST_STRIPS))
        lines.append({"name": _("Alerts"), "text": text, "since": None, "url": home, "url_label": None, "level": "warning"})
    return lines


def notices(monitor: dict[str, Any]) -> list[dict[str, Any]]:
    """Rescued, blocked, monitor late: one line each, only when there is something to say."""
    lines = []
    if monitor.late:
        age = monitor.age_s
        text = _("The monitor has not reported yet: data may be old")
        if age is not None:
            text = _("Monitor %(age)s s late: data may be old", age=number(round(age)))
        lines.append({"icon": "alert-triangle", "text": text, "url": None, "at": None})
    elif {monitor.code, *workers.running_code_versions()} - {None, registry.code_version()}:
        lines.append({"icon": "alert-triangle", "text": _("Web, workers and monitor run different code: restart all"), "url": None, "at": None})
    if (share := disk.free_share(settings().data_dir)) < disk.LOW:
        text = _("Disk nearly full (%(n)s%% free): new jobs are refused. Queued ones go on. Free some space.", n=number(share * 100, 1))
        lines.append({"icon": "alert-triangle", "text": text, "url": None, "at": None})
    for event in recent_events():
        count, shown = event.count, number(event.count)
        if event.kind == "lost":
            text = ngettext("%(n)s job rescued: its worker had died", "%(n)s jobs rescued: their workers had died", count, n=shown)
            icon = "bolt-off"
        else:
            text = ngettext(
                "%(n)s job blocked: type or arguments do not fit", "%(n)s jobs blocked: type or arguments do not fit", count, n=shown
            )
            icon = "lock"
        url = url_for("admin.jobs.job", uuid=event.uuid) if event.uuid else None
        lines.append({"icon": icon, "text": text, "url": url, "at": event.at})
    return lines


@dataclass(frozen=True, kw_only=True)
class JobPage(JobView):
    """A job as its page shows it, in the reader's language; `can` is the address of each action by its name.

    `arguments` are of {"name", "value", "kind"}, a file's name in place of its number. `running_ms` counts from the
    start of the attempt, `eta_ms` to its end at the pace so far. `frames` are the traceback's (support/tracebacks.py).
    """

    arguments: list[dict[str, Any]]
    args_json: str
    result_json: str | None
    command: str
    running_ms: int | None
    eta_ms: int | None
    ended_because: str | None
    frames: dict[str, Any] | None
    report_url: str | None
    can: dict[str, str | None]


def job_context(found: JobView) -> dict[str, Any]:
    """The job page: facts, arguments, command, attempts, log, and what can be done with it now."""
    uuid, state = found.uuid, found.state
    attempts = [replace(a, error_message=translate_stored(a.error_message)) for a in lookup.attempts_of(uuid)]
    progress = found.progress and replace(found.progress, note=translate_stored(found.progress.note))
    log = [replace(line, text=translate_stored(line.text)) if type(line.text) is Message else line for line in lookup.log_of(uuid)]
    error, trace = translate_stored(found.error), found.traceback
    if trace and type(found.error) is Message:
        trace = trace.replace(str(found.error), error)  # a sentence of ours is the last line of its traceback
    files = uploads.names_of(found.args)
    has_report = contents.has_report(uuid)
    editable = found.failed_open or state in EDITABLE
    web = found.known and (declared := registry.find(found.job_type)) is not None and declared.options.web
    running_ms = now_ms() - millis(found.reserved_at) if state == "processing" and found.reserved_at else None
    arguments = [{"name": k, "value": files.get(k, v), "kind": "file" if k in files else type(v).__name__}
                 for k, v in found.args.items()]
    steps = STEPS.get("bin" if found.in_bin else state, ())
    job = JobPage(
        **vars(found) | {"error": error, "traceback": trace, "progress": progress}, arguments=arguments,
        args_json=pretty(found.args), result_json=None if found.result is None else pretty(found.result),
        command=command(found), running_ms=running_ms, eta_ms=eta(progress, running_ms),
        ended_because=why_ended(found, attempts), frames=parse_traceback(trace, f"{ROOT}/"),
        report_url=url_for("admin.jobs.contents.report", uuid=uuid) if has_report else None,
        can={a: url_for("admin.jobs.act", uuid=uuid, action=a) for a in steps} | {
            "retry": url_for("admin.jobs.retry", uuid=uuid) if found.failed_open or state == "scheduled" else None,
            "delete": url_for("admin.jobs.delete", uuid=uuid) if found.failed_open else None,
            "cancel": url_for("admin.jobs.cancel", uuid=uuid) if found.live else None,
            "edit": url_for("admin.jobs.new.edit", uuid=uuid) if web and editable else None,
            "duplicate": url_for("admin.jobs.new.form", like=uuid) if web else None,
        })
    marks = [a.details["cut"] for a in attempts if isinstance(a.details.get("cut"), list)]
    cut = {part for parts in marks for part in parts if isinstance(part, str)}
    return {"job": job, "queues": QUEUES, "attempts": list(reversed(attempts)), "log": log, "cut": cut,
            "links": links(found), "rejects": contents.reject_report(uuid) if has_report else None}


def pretty(value: Any) -> str:
    """JSON for people: an element a line, unless the indents alone would fill a page of megabytes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) < MOST_JSON else json.dumps(value, ensure_ascii=False)


def eta(progress: Progress | None, running_ms: int | None) -> int | None:
    """Time left at the pace so far, once a hundredth is done."""
    if not progress or not progress.total or not running_ms or progress.done * 100 < progress.total:
        return None
    return round(running_ms * max(progress.total - progress.done, 0) / progress.done)


def why_ended(found: JobView, attempts: list[AttemptView]) -> str | None:
    """One sentence: why this failure was the last."""
    if found.status not in ("failed", "timeout") or not attempts:
        return None
    last, n, tries = attempts[-1], found.attempts, found.tries
    lost = sum(a.status == "lost" and a.retry_round == last.retry_round for a in attempts)
    if last.details.get("permanent"):
        if n - lost < 2:
            return _("It failed at once: another attempt could not succeed.")
        return _("Attempt %(n)s of %(tries)s failed so that another could not succeed.", n=number(n - lost), tries=number(tries))
    if last.status == "failed" and any(a.status == "lost" and a.claim_no == last.claim_no for a in attempts):
        return translate_stored(found.error)  # stopped after killing its worker, which is no attempt's failure
    n = max(n - lost, 1)
    said = ngettext("%(n)s attempt of %(tries)s failed.", "%(n)s attempts of %(tries)s failed.", n, n=number(n), tries=number(tries))
    if n >= tries and last.details.get("ended") != "retry_until":
        return said
    return said + " " + _("The next would have begun after the time for retries was over: %(time)s from when it was sent or put back by hand.",
                          time=time_for_retries(found.job_type, last.retry_round))


def time_for_retries(job_type: str, retry_round: int) -> str:
    """'24 h': how long a job is retried by itself; as its type says, and a day once it was put back by hand."""
    definition = registry.find(job_type)
    seconds = definition.options.retry_until if definition is not None and retry_round == 1 else DAY_MS // 1000
    return f"{number(seconds // 3600)} h" if seconds >= 3600 and seconds % 3600 == 0 else duration(seconds * 1000)


def links(found: JobView) -> list[dict[str, Any]]:
    """Lists of jobs like this one: type, tenant, error."""
    def to(label: str, **query: str) -> dict[str, Any]:
        return {"label": label, "url": url_for("admin.jobs.list", **query), "count": None}

    result = []
    if generation_pages.exists(found.uuid):
        url = url_for("admin.jobs.generations.one", uuid=found.uuid)
        result.append({"label": _("Its generation"), "url": url, "count": None})
    result.append(to(_("Jobs of type %(name)s", name=found.label), type=found.job_type))
    if found.tenant_id:
        result.append(to(_("Jobs of tenant %(name)s", name=found.tenant_id), tenant=found.tenant_id))
    if found.error and found.status:
        words = " ".join(found.error.split()[:8])[:120]
        result.append(to(_("Jobs with the same error"), state="unsuccessful", type=found.job_type, q=words))
    return result


def command(found: JobView) -> str:
    """The `jobs dispatch` command that would send the same job."""
    parts = ["flask", "--app", "wsgi", "jobs", "dispatch", found.job_type, "--queue", found.queue]
    if found.tenant_id:
        parts += ["--tenant", found.tenant_id]
    if found.args:
        parts += ["--args", json.dumps(found.args, ensure_ascii=False)]
    return shlex.join(parts)
