"""What the templates of the dashboard and of a job are given."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from typing import Any

from flask import current_app, request, url_for
from flask_babel import format_date, ngettext
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES, ROOT
from app.ledger import counts
from app.services.alerts.incidents import open_alerts
from app.services.content import contents, costs, generation_pages
from app.services.jobs import lookup, uploads
from app.services.jobs.actions import EDITABLE
from app.services.stats import workers
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.services.stats.recent_events import recent_events
from app.support import disk
from app.support.clock import DAY_MS, millis, now_ms
from app.support.formatting import duration, localtime, number
from app.support.messages import Message, translate_stored
from app.support.tracebacks import parse_traceback

MOST_STRIPS, MOST_JSON = 3, 1_000_000
service = JobMonitoringService()
STEPS = {"pending": ("top", "hold", "delay", "move"), "scheduled": ("hold", "delay", "move"), "held": ("release", "move"), "blocked": ("move",),
         "processing": ("stop",), "bin": ("restore", "erase")}  # what the job page offers in each state, besides retry, cancel and delete


def dashboard_context(period: str = "24h") -> dict[str, Any]:
    """Figures, the first rows of both tables and the lines of what went wrong lately."""
    stats = service.get_dashboard_stats()
    queued, failed = lookup.queued(), lookup.failed()
    for row in queued + failed:
        row["url"] = url_for("admin.jobs.job", uuid=row["uuid"])
    for row in failed:
        row["error"] = translate_stored(row["error"])
        row["retry_url"], row["delete_url"] = url_for("admin.jobs.retry", uuid=row["uuid"]), url_for("admin.jobs.delete", uuid=row["uuid"])
    live = stats["jobs"]
    return {
        "stats": stats,
        "queued": {"rows": queued, "total": max(sum(live[s] for s in counts.STATES), len(queued))},
        "failed": {"rows": failed, "total": max(live["failed"], len(failed)), "max_id": max((r["id"] for r in failed), default=0)},
        "notices": notices(), "alerts": alert_banners(), "costs": costs.sums(),
        "timeline": labelled(service.get_metrics(period)),
        "types": service.get_metrics(period, group="type"), "period": period,
        "first_run": not (failed or queued or service.has_history()),
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


def workers_context() -> list[dict[str, Any]]:
    """The workers with the address of each one's restart."""
    rows = workers.workers(current_app.extensions["settings"].worker_memory_mb)
    for row in rows:
        alive = row["status"] != "stopped"
        row["restart_url"] = url_for("admin.jobs.workers.restart", id=row["id"]) if alive else None
        offered = ("resume" if row["command"] == "quiet" else "quiet", "stop", *(("kill",) if row["health"] in ("stuck", "unresponsive") else ()))
        offered = offered if alive else ("start",) if row["can_start"] and row["command"] is None else ()
        row["commands"] = {c: url_for("admin.jobs.workers.command", id=row["id"], command=c) for c in offered}
    return rows


def alert_banners() -> list[dict[str, Any]]:
    """Open alerts that nobody has taken or silenced, the worst first."""
    home = url_for("admin.jobs.alerts.index")
    rows = [a for a in open_alerts() if not a["quiet"]]
    lines = [{"name": a["name"], "text": a["text"], "since": a["opened_at"], "url_label": _("Look"),
              "url": request.script_root + a["link"] if a["link"] else home, "level": a["severity"]}
             for a in rows[:MOST_STRIPS]]
    if len(rows) > MOST_STRIPS:
        text = ngettext("%(n)s more alert is open.", "%(n)s more alerts are open.", len(rows) - MOST_STRIPS, n=number(len(rows) - MOST_STRIPS))
        lines.append({"name": _("Alerts"), "text": text, "since": None, "url": home, "url_label": None, "level": "warning"})
    return lines


def notices() -> list[dict[str, Any]]:
    """Rescued, blocked, monitor late: one line each, only when there is something to say."""
    lines = []
    monitor = monitor_state()
    if monitor["late"]:
        age = monitor["age_s"]
        text = _("The monitor has not reported yet: data may be old")
        if age is not None:
            text = _("Monitor %(age)s s late: data may be old", age=number(round(age)))
        lines.append({"icon": "alert-triangle", "text": text, "url": None, "at": None})
    elif {monitor["code"], *workers.running_code_versions()} - {None, registry.code_version()}:
        lines.append({"icon": "alert-triangle", "text": _("Web, workers and monitor run different code: restart all"), "url": None, "at": None})
    if (share := disk.free_share(current_app.extensions["settings"].data_dir)) < disk.LOW:
        text = _("Disk nearly full (%(n)s%% free): new jobs are refused. Queued ones go on. Free some space.", n=number(share * 100, 1))
        lines.append({"icon": "alert-triangle", "text": text, "url": None, "at": None})
    for event in recent_events():
        count, shown = event["count"], number(event["count"])
        if event["kind"] == "lost":
            text = ngettext("%(n)s job rescued: its worker had died", "%(n)s jobs rescued: their workers had died", count, n=shown)
            icon = "bolt-off"
        else:
            text = ngettext(
                "%(n)s job blocked: type or arguments do not fit", "%(n)s jobs blocked: type or arguments do not fit", count, n=shown
            )
            icon = "lock"
        url = url_for("admin.jobs.job", uuid=event["uuid"]) if event["uuid"] else None
        lines.append({"icon": icon, "text": text, "url": url, "at": event["at"]})
    return lines


def job_context(found: dict[str, Any]) -> dict[str, Any]:
    """The job page: facts, arguments, command, attempts, log, and what can be done with it now."""
    uuid, state = found["uuid"], found["state"]
    attempts = [attempt | {"error_message": translate_stored(attempt["error_message"])} for attempt in lookup.attempts_of(uuid)]
    progress = found["progress"] and found["progress"] | {"note": translate_stored(found["progress"]["note"])}
    log = [line | {"text": translate_stored(line["text"]) if type(line["text"]) is Message else line["text"]} for line in lookup.log_of(uuid)]
    error, trace = translate_stored(found["error"]), found["traceback"]
    if trace and type(found["error"]) is Message:
        trace = trace.replace(str(found["error"]), error)  # a sentence of ours is the last line of its traceback
    files = uploads.names_of(found["args"])
    has_report = contents.has_report(uuid)
    editable = found["failed_open"] or state in EDITABLE
    web = found["known"] and (declared := registry.find(found["job_type"])) is not None and declared.options.web
    running_ms = now_ms() - millis(found["reserved_at"]) if state == "processing" and found["reserved_at"] else None
    job = found | {
        "running_ms": running_ms, "eta_ms": eta(progress, running_ms), "ended_because": why_ended(found, attempts),
        "args": [{"name": k, "value": files.get(k, v), "kind": "file" if k in files else type(v).__name__} for k, v in found["args"].items()],
        "args_json": pretty(found["args"]), "result_json": None if found["result"] is None else pretty(found["result"]),
        "error": error, "traceback": trace, "command": command(found), "progress": progress,
        "frames": parse_traceback(trace, f"{ROOT}/"),
        "report_url": url_for("admin.jobs.contents.report", uuid=uuid) if has_report else None,
        "can": {
            "retry": url_for("admin.jobs.retry", uuid=uuid) if found["failed_open"] or state == "scheduled" else None,
            "delete": url_for("admin.jobs.delete", uuid=uuid) if found["failed_open"] else None,
            "cancel": url_for("admin.jobs.cancel", uuid=uuid) if found["live"] else None,
            **{a: url_for("admin.jobs.act", uuid=uuid, action=a) for a in STEPS.get("bin" if found["in_bin"] else state, ())},
            "edit": url_for("admin.jobs.new.edit", uuid=uuid) if web and editable else None,
            "duplicate": url_for("admin.jobs.new.form", like=uuid) if web else None,
        },
    }
    cut = {part for attempt in attempts if isinstance(marks := attempt["details"].get("cut"), list) for part in marks if isinstance(part, str)}
    return {"job": job, "queues": QUEUES, "attempts": list(reversed(attempts)), "log": log, "cut": cut,
            "links": links(found), "rejects": rejects(uuid) if has_report else None}


def rejects(uuid: str) -> dict[str, Any]:
    """The first 50 rows of an import's report, and a sentence when it does not keep all."""
    report = contents.reject_report(uuid, 50)
    return report | {"cut": contents.cut_sentence(report) if report["kept"] < report["total"] else None}


def pretty(value: Any) -> str:
    """JSON for people: an element a line, unless the indents alone would fill a page of megabytes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) < MOST_JSON else json.dumps(value, ensure_ascii=False)


def eta(progress: dict[str, Any] | None, running_ms: int | None) -> int | None:
    """Time left at the pace so far, once a hundredth is done."""
    if not progress or not progress["total"] or not running_ms or progress["done"] * 100 < progress["total"]:
        return None
    return round(running_ms * max(progress["total"] - progress["done"], 0) / progress["done"])


def why_ended(found: dict[str, Any], attempts: list[dict[str, Any]]) -> str | None:
    """One sentence: why this failure was the last."""
    if found["status"] not in ("failed", "timeout") or not attempts:
        return None
    last, n, tries = attempts[-1], found["attempts"], found["tries"]
    lost = sum(a["status"] == "lost" and a["round"] == last["round"] for a in attempts)
    if last["details"].get("permanent"):
        if n - lost < 2:
            return _("It failed at once: another attempt could not succeed.")
        return _("Attempt %(n)s of %(tries)s failed so that another could not succeed.", n=number(n - lost), tries=number(tries))
    if last["status"] == "failed" and any(a["status"] == "lost" and a["claim_no"] == last["claim_no"] for a in attempts):
        return translate_stored(found["error"])  # stopped after killing its worker, which is no attempt's failure
    n = max(n - lost, 1)
    said = ngettext("%(n)s attempt of %(tries)s failed.", "%(n)s attempts of %(tries)s failed.", n, n=number(n), tries=number(tries))
    if n >= tries and last["details"].get("ended") != "retry_until":
        return said
    return said + " " + _("The next would have begun after the time for retries was over: %(time)s from when it was sent or put back by hand.",
                          time=time_for_retries(found["job_type"], last["round"]))


def time_for_retries(job_type: str, round_: int) -> str:
    """'24 h': how long a job is retried by itself; as its type says, and a day once it was put back by hand."""
    definition = registry.find(job_type)
    seconds = definition.options.retry_until if definition is not None and round_ == 1 else DAY_MS // 1000
    return f"{number(seconds // 3600)} h" if seconds >= 3600 and seconds % 3600 == 0 else duration(seconds * 1000)


def links(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists of jobs like this one: type, tenant, error."""
    def to(label: str, **query: str) -> dict[str, Any]:
        return {"label": label, "url": url_for("admin.jobs.list", **query), "count": None}

    generated = generation_pages.exists(found["uuid"])
    result = [{"label": _("Its generation"), "url": url_for("admin.jobs.generations.one", uuid=found["uuid"]), "count": None}] if generated else []
    result += [to(_("Jobs of type %(name)s", name=found["label"]), type=found["job_type"])]
    if found["tenant_id"]:
        result.append(to(_("Jobs of tenant %(name)s", name=found["tenant_id"]), tenant=found["tenant_id"]))
    if found["error"] and found["status"]:
        words = " ".join(found["error"].split()[:8])[:120]
        result.append(to(_("Jobs with the same error"), state="unsuccessful", type=found["job_type"], q=words))
    return result


def command(found: dict[str, Any]) -> str:
    """The `jobs dispatch` command that would send the same job."""
    parts = ["flask", "--app", "wsgi", "jobs", "dispatch", found["job_type"], "--queue", found["queue"]]
    if found["tenant_id"]:
        parts += ["--tenant", found["tenant_id"]]
    if found["args"]:
        parts += ["--args", json.dumps(found["args"], ensure_ascii=False)]
    return shlex.join(parts)
