"""The texts of alerts, in the language of the reader: of the page's reader, or ALERT_LANGUAGE for messages.

Texts that come from jobs are made harmless for chat programs: no mention (`@channel`, `<!here>`), no markup, one line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_babel import gettext as _, ngettext, pgettext

from app import registry
from app.services.content.connections import SERVICES
from app.support.clock import MINUTE_MS, when
from app.support.formatting import duration, localtime, money, number, threshold
from app.support.messages import from_row, translated
from app.support.redaction import redact

MOST, MOST_WHY = 120, 300  # characters of a name and of a reason in a message
BRAND = "[Ainstein Jobs] "


def sanitize(text: object, most: int = MOST) -> str:
    """One line without mentions or markup, at most 120 characters, or `most`."""
    line = redact(" ".join(str(text).split()))[:most]
    return line.replace("@", "@\u200b").replace("<", "‹").replace(">", "›").replace("`", "'").replace("*", "∗")


def name(kind: str) -> str:
    """The name of a kind of rule; an unknown kind itself."""
    return {
        "failures": _("Too many failures"), "no_worker": _("No worker"), "slow": _("Jobs take long"),
        "box_memory": _("Memory of the server"), "worker_memory": _("Memory of a worker"),
        "critical_job": _("Critical job failed"), "oldest": _("A job waits too long"), "growing": _("Queue grows"),
        "overrun": _("Job far longer than its kind"), "missed": _("Recurring run missed"),
        "paused": _("Paused for long"), "late": _("Predicted end is late"),
        "rescued": _("Jobs rescued"), "disk": _("Disk nearly full"), "budget": _("Budget nearly spent"),
        "connection": _("A service does not work"),
        "worker": _("Workers are missing or do not work"), "view": _("Too many jobs in a view"),
    }.get(kind, kind)


def worst(facts: dict[str, Any]) -> dict[str, Any]:
    """The worst facts of an incident, with all names that it `had`; its facts when they are of an earlier version."""
    worst = facts.get("worst")
    return worst | {"had": facts.get("had") or []} if isinstance(worst, dict) else facts


def measure(kind: str, facts: dict[str, Any]) -> float:
    """How bad facts are beside others of the same incident."""
    at = next((facts[fact] for fact in ("ms", "left_ms", "percent", "mb", "n") if fact in facts), 0)
    return (-at if kind == "disk" else at) if isinstance(at, int | float) else 0


def _label(job_type: str) -> str:
    return sanitize(registry.label_of(job_type))


def _clock(ms: int) -> str:
    return localtime(when(ms)).strftime("%d.%m. %H:%M")


# Of each fact: its name in the sentences and its form; other facts stand as they are.
_FORMS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "n": ("n", number), "limit": ("limit", threshold), "percent": ("n", number), "mb": ("mb", number),
    "before": ("before", number), "jobs": ("jobs", number), "ms": ("time", duration), "usual_ms": ("usual", duration),
    "at_ms": ("time", _clock), "left_ms": ("left", duration),
    **{fact: (fact, _clock) for fact in ("low_ms", "high_ms", "since_ms")},
    "until_ms": ("until", lambda ms: ms and _clock(ms)), "reason": ("reason", lambda text: text and sanitize(text)),
    "by": ("by", lambda by: sanitize(by) if by else _("the platform")),
    "type": ("type", _label), **{fact: (fact, sanitize) for fact in ("worker", "name", "tenant")},
}


def _shown(kind: str, facts: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": kind}  # never empty: gettext without values leaves %(n)s in the text
    for fact, value in facts.items():
        name, form = _FORMS.get(fact, (fact, lambda same: same))
        shown[name] = form(value)
    if kind in ("slow", "oldest", "paused", "late"):
        shown["limit"] = duration(facts["limit"] * MINUTE_MS)
    elif kind == "disk":
        shown["n"] = number(facts["percent"], 1)
    elif kind == "connection":
        why = translated(from_row(facts["why"], facts.get("why_json")) or "")
        shown |= {"service": SERVICES.get(facts["service"], facts["service"]), "why": sanitize(why, MOST_WHY)}
    elif kind == "worker":
        now = [name for name, *_why in facts["names"]]
        before = [line for line in facts.get("had") or () if line[0] not in now]
        shown |= {"names": _named(facts["names"]), "before": _named(before)}
    elif kind == "budget":
        shown |= {fact: money(facts[fact], facts["currency"]) for fact in ("spent", "limit")}
    return shown


def _named(lines: list[Any]) -> str:
    whys = [(name, translated(from_row(why, form) or "")) for name, why, form in lines]
    return "; ".join(f"{sanitize(name)} ({sanitize(why, MOST_WHY)})" for name, why in whys)


def sentence(kind: str, facts: dict[str, Any]) -> str:
    """What was measured, and the threshold; an unknown kind itself. Raises KeyError and others for facts of another
    kind."""
    shown = _shown(kind, facts)
    sentences: dict[str, Callable[[], str]] = {
        "failures": lambda: _(
            "%(n)s failures of %(jobs)s jobs in %(minutes)s min, threshold %(limit)s.", **shown)
            if facts.get("jobs", facts["n"]) != facts["n"] else ngettext(
            "%(num)s failure in %(minutes)s min, threshold %(limit)s.",
            "%(num)s failures in %(minutes)s min, threshold %(limit)s.", facts["n"], **shown),
        "no_worker": lambda: ngettext(
            "No worker is alive and %(n)s job waits, threshold %(limit)s.",
            "No worker is alive and %(n)s jobs wait, threshold %(limit)s.", facts["n"], **shown),
        "slow": lambda: ngettext(
            "%(time)s on average over %(n)s job in %(minutes)s min, threshold %(limit)s.",
            "%(time)s on average over %(n)s jobs in %(minutes)s min, threshold %(limit)s.", facts["n"], **shown),
        "box_memory": lambda: _("%(n)s%% in use, threshold %(limit)s%%.", **shown),
        "worker_memory": lambda: _("%(worker)s is %(mb)s MB over its start, threshold %(limit)s MB.", **shown),
        "critical_job": lambda: _(
            "%(type)s: %(n)s failures of %(jobs)s jobs in %(minutes)s min.", **shown)
            if facts.get("jobs", facts["n"]) != facts["n"] else ngettext(
            "%(type)s failed.", "%(type)s failed %(num)s times in %(minutes)s min.", facts["n"], **shown),
        "oldest": lambda: (_("%(queue)s: the oldest job has waited for %(time)s, threshold %(limit)s.", **shown)
                           + (" " + _("%(by)s has paused it since %(since_ms)s.", **shown) if "by" in facts else "")),
        "paused": lambda: _pause(facts["n"], shown),
        "late": lambda: (
            _("%(queue)s: probably empty in %(left)s, at %(time)s (between %(low_ms)s and %(high_ms)s), threshold "
              "%(limit)s.", **shown) if "queue" in facts else
            _("%(type)s: its last job ends probably in %(left)s, at %(time)s (between %(low_ms)s and %(high_ms)s), "
              "threshold %(limit)s.", **shown)),
        "growing": lambda: _("%(queue)s grew from %(before)s to %(n)s jobs in %(minutes)s min.", **shown),
        "overrun": lambda: _("%(type)s has run for %(time)s; 99%% of its kind take at most %(usual)s.", **shown),
        "missed": lambda: _("%(name)s did not run at %(time)s.", **shown),
        "rescued": lambda: ngettext(
            "%(num)s attempt was lost with its worker in %(minutes)s min; its job runs again.",
            "%(num)s attempts were lost with their workers in %(minutes)s min; their jobs run again.",
            facts["n"], **{"minutes": "?"} | shown),
        "budget": lambda: _("%(tenant)s has spent %(n)s%% of this month's budget: %(spent)s of %(limit)s.", **shown),
        "connection": lambda: _("%(service)s of %(tenant)s failed several times in a row; its jobs wait. %(why)s",
                                **shown),
        "worker": lambda: ngettext(
            "%(num)s worker is missing, frozen, stuck or silent: %(names)s.",
            "%(num)s workers are missing, frozen, stuck or silent: %(names)s.", facts["n"], **shown)
            + (" " + _("At other times: %(before)s.", **shown) if shown["before"] else ""),
        "view": lambda: (
            _("More than %(n)s jobs in the view %(name)s, threshold %(limit)s.", **shown) if facts.get("more") else
            ngettext("%(num)s job in the view %(name)s, threshold %(limit)s.",
                     "%(num)s jobs in the view %(name)s, threshold %(limit)s.", facts["n"], **shown)),
        "disk": lambda: _("%(n)s%% free, threshold %(limit)s%%.", **shown),
    }
    text = sentences.get(kind, lambda: kind)()
    if kind not in ("failures", "slow") or not {"type", "queue", "tenant"}.intersection(facts):
        return text
    scopes = {"type": _("type %(name)s", name=shown.get("type")), "queue": _("queue %(name)s", name=shown.get("queue")),
              "tenant": _("tenant %(name)s", name=shown.get("tenant"))}
    return f"{text} ({', '.join(part for scope, part in scopes.items() if scope in facts)})"


def _pause(waiting: int, shown: dict[str, Any]) -> str:
    name = shown["type"] if "type" in shown else shown["queue"]
    parts = [_("%(name)s: paused by %(by)s for %(time)s, threshold %(limit)s.", name=name, **shown)]
    parts.append(_("It ends at %(until)s.", **shown) if shown["until"] else _("It lasts until somebody resumes it."))
    parts += [_("Reason: %(reason)s.", **shown)] if shown["reason"] else []
    return " ".join([*parts, ngettext("%(num)s job waits because of it.", "%(num)s jobs wait because of it.", waiting)])


def notification(kind: str, facts: dict[str, Any]) -> str:
    """The sentence, or the name of the kind when the facts are of another kind."""
    try:
        return sentence(kind, facts)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return name(kind)


def message(phase: str, kind: str, facts: dict[str, Any], opened: int, closed: int | None, url: str) -> tuple[str, str]:
    """Title and body of the message of phase `open` or `over`; `opened` and `closed` in ms, `url` ends the body."""
    lines = [sentence(kind, worst(facts) if phase == "over" else facts)]
    if phase == "over":
        title = pgettext("alert", "Over: %(name)s", name=name(kind))
        lines.append(_("It lasted %(time)s.", time=duration((closed or opened) - opened)))
    else:
        title = name(kind)
        lines.append(_("Since %(time)s.", time=_clock(opened)))
    return BRAND + title, "\n".join([*lines, url])


def digest(titles_and_bodies: list[tuple[str, str]]) -> tuple[str, str]:
    """Title and body of one message that says what many say, one a line."""
    lines = [f"{title}: {body}".removeprefix(BRAND).replace("\n", " ") for title, body in titles_and_bodies]
    return BRAND + ngettext("%(num)s message", "%(num)s messages", len(lines)), "\n".join(lines)


def test_message(actor: str) -> tuple[str, str]:
    """Title and body of a test message."""
    body = _("A test of this channel, asked for by %(name)s. Nothing is wrong.", name=sanitize(actor))
    return BRAND + _("Test"), body


def repeated() -> str:
    """The first line of a message that may have been delivered before."""
    return _("Repeated: the first sending was interrupted, so this may have come before.")
