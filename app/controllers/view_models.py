"""Values for the templates of the dashboard, of the workers and of a job, in the reader's language."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import request, url_for
from flask_babel import format_date, gettext as _, ngettext

from app import registry
from app.config import QUEUES, ROOT
from app.controllers import job_story, tree_forms
from app.controllers.access import may_open
from app.controllers.worker_views import worker_lines
from app.models.job import BY_LIMIT, BY_RATE, LIVE_STATES
from app.services.alerts.incident_views import open_alerts
from app.services.content import bulk, content_list, contents, costs, generation_pages, sync_reports, sync_start
from app.services.instance import deploys
from app.services.jobs import batch_pages, error_pages, listing, lookup, uploads, waiting, why
from app.services.jobs.actions import EDITABLE
from app.services.jobs.job_filter import JobFilter
from app.services.jobs.views import AttemptView, JobView, Progress
from app.services.stats import pauses, workers
from app.services.stats.job_monitoring import JobMonitoringService, MonitorView, RecentEvent, recent_events
from app.support import disk, privacy
from app.support.clock import DAY_MS, day_of, iso, millis, now_ms
from app.support.formatting import duration, localtime, number
from app.support.messages import Message, translate_stored
from app.support.settings import settings
from app.support.tracebacks import folders_of, parse_traceback

MOST_BANNERS, MOST_JSON = 3, 1_000_000  # alerts on the dashboard; characters of indented JSON
service = JobMonitoringService()
STEPS = {  # actions of the job page by state, besides retry, cancel and delete
    "pending": ("top", "hold", "delay", "move"), "scheduled": ("hold", "delay", "move"), "held": ("release", "move"),
    "limited": ("top", "hold", "delay", "move"), "blocked": ("move",), "processing": ("stop",),
    "waiting": ("run-without-waiting", "hold", "delay", "move"), "bin": ("restore", "erase"),
}


def dashboard_context(pulse: dict[str, Any], period: str, rows: tuple[int, int]) -> dict[str, Any]:
    """The whole dashboard: the live parts, and the charts of a period, which a poll does not get."""
    parts = dashboard_parts(pulse, rows)
    timeline = parts["hours"] if period == "24h" else service.get_metrics(period)
    types = service.get_metrics(period, group="type")
    done = sum(row["completed"] for row in types)
    return parts | {"types": types, "period": period, "timeline": deploys.on_chart(labelled(timeline)),
                    "average": sum(r["completed"] * (r["avg_time"] or 0) for r in types) / done if done else None,
                    "first_run": not (parts["failed"]["rows"] or parts["queued"]["rows"] or service.has_history())}


def dashboard_parts(pulse: dict[str, Any], rows: tuple[int, int]) -> dict[str, Any]:
    """The live parts: figures, the first `rows` of both tables (queued, failed), open alerts and notices."""
    stats = pulse["stats"]
    queued, failed = lookup.queued(rows[0]), lookup.failed(rows[1])
    failed = [replace(row, error=translate_stored(row.error)) for row in failed]
    of_workers = worker_lines(stats["workers"]["troubles"], url_for("admin.jobs.workers"))
    live, (running, open_batches) = stats["jobs"], batch_pages.running()
    events, today = recent_events(live["blocked"]), day_of(now_ms(), settings().timezone).isoformat()
    said = of_workers and "worker", pulse["pauses"] and "paused", *("rescued" for e in events if e.kind == "lost")
    return {
        "stats": stats,
        "queued": {"rows": queued, "total": max(sum(live[s] for s in LIVE_STATES), len(queued))},
        "failed": {"rows": failed, "total": max(live["failed"], len(failed)),
                   "max_id": max((r.id for r in failed), default=0)},
        "notices": notices(pulse["monitor"], events), "pauses": pulse["pauses"], "costs": costs.sums(),
        "alerts": of_workers + alert_banners(*said),
        "batches": {"rows": running, "total": open_batches},
        "hours": service.get_metrics("24h"), "still_failed": listed(state="unsuccessful", since=today),
        "alike": error_pages.alike(row.uuid for row in failed),
    }


def listed(**parts: str) -> tuple[int, bool, str]:
    """How many jobs the list has with these parts of its filter, whether that is exact, and its address."""
    n, exact = listing.count(JobFilter.read(parts, settings().timezone))
    return n, exact, url_for("admin.jobs.list", **parts)


def labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bucket with its `label`: '14:00' of an hour in APP_TIMEZONE, '23 Nov' of a day.

    After a change of the clocks, two of the last 24 hours may have one label: then '02:00 CEST' and '02:00 CET'.
    """
    labels = [bucket_label(row["date"]) for row in rows]
    return [row | {"label": label if labels.count(label) == 1 else bucket_label(row["date"], "%H:%M %Z")}
            for row, label in zip(rows, labels, strict=True)]


def bucket_label(date: str, form: str = "%H:%M") -> str:
    """The label of a bucket: an hour (ISO date and time) by `form`, a day (ISO date) like '23 Nov'."""
    moment = datetime.fromisoformat(date)
    return localtime(moment).strftime(form) if len(date) > 10 else format_date(moment, "d MMM")


def alert_banners(*said: Any) -> list[dict[str, Any]]:
    """Open alerts that nobody has acknowledged or silenced, except of the kinds `said`: the three worst, and a line for
    the others."""
    home = url_for("admin.jobs.alerts.index")
    rows = [a for a in open_alerts() if not a.quiet and a.kind not in said]
    lines = [{"name": a.name, "text": a.text, "since": a.opened_at, "url_label": _("Look"),
              "url": request.script_root + a.link if a.link and may_open(a.link) else home,
              "level": "warning" if a.over_at else a.severity}
             for a in rows[:MOST_BANNERS]]
    if (more := len(rows) - MOST_BANNERS) > 0:
        text = ngettext("%(n)s more alert is open.", "%(n)s more alerts are open.", more, n=number(more))
        lines.append({"name": _("Alerts"), "text": text, "url": home, "level": "warning"})
    return lines


def notices(monitor: MonitorView, events: list[RecentEvent]) -> list[dict[str, Any]]:
    """One line each for a late monitor, different code, a full disk, conflicts, rescued jobs and blocked jobs."""
    lines: list[dict[str, Any]] = []

    def add(icon: str, text: str, **more: Any) -> None:
        lines.append({"icon": icon, "text": text} | more)

    if monitor.age_s is None and monitor.late:
        add("alert-triangle", _("The monitor has not reported yet: data may be old"))
    elif monitor.late:
        late = duration(monitor.age_s * 1000)
        add("alert-triangle", _("Monitor {time} late: data may be old").replace("{time}", late))
    elif {monitor.code, *workers.running_code_versions()} - {None, registry.code_version()}:
        add("alert-triangle", _("Web, workers and monitor run different code: restart all"))
    if pauses.after_restore():
        add("player-pause", _("Schedules and alerts are paused since a restore, until somebody runs %(command)s",
                              command="jobs resume --all"))
    if (share := disk.free_share(settings().data_dir)) < disk.LOW:
        add("alert-triangle", _("Disk nearly full (%(n)s%% free): new jobs are refused. Queued ones go on. "
                                "Free some space.", n=number(share * 100, 1)))
    contents_url = url_for("admin.jobs.contents.index", state="conflict")
    n, exact = content_list.count(content_list.ContentFilter(state="conflict"))
    if n and may_open(contents_url):
        shown = number(n) if exact else _("more than %(n)s", n=number(n))
        add("alert-triangle", ngettext("%(n)s content was changed at a service: a person must choose",
                                       "%(n)s contents were changed at a service: a person must choose", n, n=shown),
            url=contents_url)
    for event in events:
        n, shown = event.count, number(event.count)
        if event.kind == "lost":
            day, ever = listed(rescued=f"{iso(event.until - DAY_MS)}..{iso(event.until + 1)}"), listed(rescued="1")
            shown_day, shown_ever = (number(total) if exact else _("more than %(n)s", n=number(total))
                                     for total, exact, _url in (day, ever))
            also = [(ngettext("%(n)s job", "%(n)s jobs", day[0], n=shown_day), day[2]),
                    (ngettext("%(n)s job was ever rescued", "%(n)s jobs were ever rescued", ever[0], n=shown_ever),
                     ever[2])]
            add("bolt-off", ngettext("%(n)s attempt was lost with its worker in 24 hours",
                                     "%(n)s attempts were lost with their workers in 24 hours", n, n=shown),
                at=event.at, also=[link for link, found in zip(also, (day, ever), strict=True) if found[0]])
        else:
            add("lock", ngettext("%(n)s job blocked: type or arguments do not fit",
                                 "%(n)s jobs blocked: type or arguments do not fit", n, n=shown),
                url=url_for("admin.jobs.list", state="blocked"))
    return lines


@dataclass(frozen=True, kw_only=True)
class JobPage(JobView):
    """A job as its page shows it, in the reader's language; `can` has the address of each allowed action by name.

    `arguments` are of {"name", "value", "kind"}; a file has its name as value. `running_ms` counts from the start of
    the attempt, `eta_ms` to its estimated end. `frames` are those of the traceback (support/tracebacks.py).
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
    can: dict[str, str]


def _told(attempt: AttemptView) -> AttemptView:
    """An attempt in the reader's language, with the sentence of ours that ends its traceback."""
    own, told = attempt.error_message, translate_stored(attempt.error_message)
    trace = attempt.traceback
    return replace(attempt, error_message=told,
                   traceback=trace.replace(str(own), told or "") if trace and type(own) is Message else trace)


def job_context(found: JobView) -> dict[str, Any]:
    """The job page: facts, arguments, command, attempts, log, and the actions that are allowed now."""
    uuid, state = found.uuid, found.state
    attempts = list(map(_told, lookup.attempts_of(uuid)))
    story, last = job_story.story(found, attempts), attempts[-1] if attempts else None
    progress = found.progress and replace(found.progress, note=translate_stored(found.progress.note))
    log = [replace(line, text=translate_stored(line.text)) if type(line.text) is Message else line
           for line in lookup.log_of(uuid)]
    error, trace = translate_stored(found.error), found.traceback or (last and last.traceback)
    if trace and type(found.error) is Message:
        trace = trace.replace(str(found.error), error)  # the last line of the traceback is our own sentence
    hidden = privacy.hidden()
    sync = sync_reports.report(uuid) if not hidden and found.job_type in sync_start.TYPES.values() else None
    if sync and attempts and attempts[-1].details.get("permanent") and type(found.error) is Message:
        trace = None  # it was refused, with a sentence: no place in the code says more
    files = uploads.names_of(found.args)
    has_report = not hidden and contents.has_report(uuid)
    web = found.known and (declared := registry.find(found.job_type)) is not None and declared.options.web
    running_ms = now_ms() - millis(found.reserved_at) if state == "processing" and found.reserved_at else None
    arguments = [{"name": k, "value": files.get(k, v), "kind": "file" if k in files else type(v).__name__}
                 for k, v in found.args.items()]
    steps = "bin" if found.in_bin else "limited" if found.hold_code in (BY_LIMIT, BY_RATE) else state
    can = {a: url_for("admin.jobs.act", uuid=uuid, action=a) for a in STEPS.get(steps, ())}
    allowed = {"retry": found.failed_open or state == "scheduled", "delete": found.failed_open, "cancel": found.live,
               "new.edit": web and (found.failed_open or state in EDITABLE)}
    can |= {name.removeprefix("new."): url_for(f"admin.jobs.{name}", uuid=uuid) for name, yes in allowed.items() if yes}
    can |= {"duplicate": url_for("admin.jobs.new.form", like=uuid)} if web else {}
    can = {name: url for name, url in can.items() if may_open(url, "GET" if name in ("edit", "duplicate") else "POST")}
    job = JobPage(
        **vars(found) | {"error": error, "traceback": trace, "progress": progress}, arguments=arguments,
        args_json=pretty(found.args), result_json=None if found.result is None else pretty(found.result),
        command="" if hidden else command(found), running_ms=running_ms, eta_ms=eta(progress, running_ms),
        ended_because=job_story.why_ended(found, attempts, story["rounds"]),
        frames=parse_traceback(trace, f"{ROOT}/", folders_of(settings().job_modules)),
        report_url=url_for("admin.jobs.contents.report", uuid=uuid) if has_report else None, can=can,
    )
    marks = [a.details["cut"] for a in attempts if isinstance(a.details.get("cut"), list)]
    cut = {part for parts in marks for part in parts if isinstance(part, str)}
    kin = waiting.family(uuid)
    asked = tree_forms.question([uuid]) if kin.total_children and state != "completed" else None
    return {"job": job, "why": None if found.status else why.one(uuid), "queues": QUEUES, "kin": kin, "tree": asked,
            "attempts": list(reversed(attempts)), **story, "log": log, "cut": cut, "links": links(found),
            "rejects": contents.reject_report(uuid) if has_report else None,
            "sync": sync, "hidden": hidden}


def pretty(value: Any) -> str:
    """Indented JSON; on one line when the indented text has a million characters or more."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) < MOST_JSON else json.dumps(value, ensure_ascii=False)


def eta(progress: Progress | None, running_ms: int | None) -> int | None:
    """Estimated ms to the end at the pace so far; None before a hundredth is done."""
    if not progress or not progress.total or not running_ms or progress.done * 100 < progress.total:
        return None
    return round(running_ms * max(progress.total - progress.done, 0) / progress.done)


def links(found: JobView) -> list[tuple[str, str]]:
    """Label and address of its batch, its generation, and of lists of jobs with the same type or tenant, or that
    failed alike."""
    result = [(_("Jobs of type %(name)s", name=found.label), url_for("admin.jobs.list", type=found.job_type))]
    if generation_pages.exists(found.uuid):
        result.insert(0, (_("Its generation"), url_for("admin.jobs.generations.one", uuid=found.uuid)))
    if found.batch_id and (batch := batch_pages.exact(found.batch_id)):
        result.insert(0, (_("Its batch, %(name)s", name=batch.name), url_for("admin.jobs.batches.one", batch=batch.id)))
    if found.job_type == bulk.TYPE and bulk.exists(found.uuid):
        result.insert(0, (_("Its texts"), url_for("admin.jobs.texts.one", uuid=found.uuid)))
    elif found.args.get("sync") and batch_pages.exact(found.uuid):
        result.insert(0, (_("The syncs after it"), url_for("admin.jobs.batches.one", batch=found.uuid)))
    if tenant := found.tenant_id:
        result.append((_("Jobs of tenant %(name)s", name=tenant), url_for("admin.jobs.list", tenant=tenant)))
    for key, n in error_pages.alike([found.uuid]).values():
        result.append((ngettext("%(n)s failed job like this", "%(n)s failed jobs like this", n, n=number(n)),
                       url_for("admin.jobs.list", error=key, state="unsuccessful")))
        result.append((_("Its group of failures"), url_for("admin.jobs.errors.index", error=key, period="all")))
    return [(label, url) for label, url in result if may_open(url)]


def command(found: JobView) -> str:
    """The shell command `jobs dispatch` for the same job."""
    parts = ["flask", "--app", "wsgi", "jobs", "dispatch", found.job_type, "--queue", found.queue]
    if found.tenant_id:
        parts += ["--tenant", found.tenant_id]
    if found.args:
        parts += ["--args", json.dumps(found.args, ensure_ascii=False)]
    return shlex.join(parts)
