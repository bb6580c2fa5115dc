"""What alerts say, in the language of whoever reads: a page's reader, or ALERT_LANGUAGE for messages.

Everything that comes from jobs is made harmless for chat programs: no mention (`@channel`, `<!here>`), no markup, one
line.
"""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _
from flask_babel import ngettext, pgettext

from app import registry
from app.support.clock import MINUTE_MS, when
from app.support.formatting import duration, localtime, money, number
from app.support.redaction import redact

MOST = 120  # characters of a name in a message


def sanitize(text: object) -> str:
    """One line without mentions or markup, at most 120 characters."""
    line = redact(" ".join(str(text).split()))[:MOST]
    return line.replace("@", "@\u200b").replace("<", "‹").replace(">", "›").replace("`", "'").replace("*", "∗")


def name(kind: str) -> str:
    return {
        "failures": _("Too many failures"), "no_worker": _("No worker"), "slow": _("Jobs take long"), "box_memory": _("Memory of the server"),
        "worker_memory": _("Memory of a worker"), "critical_job": _("Critical job failed"), "oldest": _("A job waits too long"),
        "growing": _("Queue grows"), "overrun": _("Job far longer than its kind"), "missed": _("Recurring run missed"),
        "rescued": _("Jobs rescued"), "disk": _("Disk nearly full"),
        "budget": _("Budget nearly spent"),
    }.get(kind, kind)


def sentence(kind: str, facts: dict[str, Any]) -> str:
    """What was measured, and the threshold."""
    sentence = {
        "failures": lambda f: ngettext("%(num)s job failed in %(minutes)s min, threshold %(limit)s.",
                                       "%(num)s jobs failed in %(minutes)s min, threshold %(limit)s.", f["n"],
                                       minutes=f["minutes"], limit=number(f["limit"])),
        "no_worker": lambda f: _("No worker is alive and %(n)s jobs wait, threshold %(limit)s.", n=number(f["n"]), limit=number(f["limit"])),
        "slow": lambda f: _("%(time)s on average over %(n)s jobs in %(minutes)s min, threshold %(limit)s.", time=duration(f["ms"]), n=number(f["n"]),
                            minutes=f["minutes"], limit=duration(f["limit"] * MINUTE_MS)),
        "box_memory": lambda f: _("%(n)s%% in use, threshold %(limit)s%%.", n=number(f["percent"]), limit=number(f["limit"])),
        "worker_memory": lambda f: _("%(worker)s is %(mb)s MB over its start, threshold %(limit)s MB.", worker=sanitize(f["worker"]),
                                     mb=number(f["mb"]), limit=number(f["limit"])),
        "critical_job": lambda f: ngettext("%(type)s failed.", "%(type)s failed %(num)s times in %(minutes)s min.", f["n"],
                                           type=sanitize(registry.label_of(f["type"])), minutes=f["minutes"]),
        "oldest": lambda f: _("%(queue)s: the oldest job has waited for %(time)s, threshold %(limit)s.", queue=f["queue"], time=duration(f["ms"]),
                              limit=duration(f["limit"] * MINUTE_MS)),
        "growing": lambda f: _("%(queue)s grew from %(before)s to %(n)s jobs in %(minutes)s min.", queue=f["queue"], before=number(f["before"]),
                               n=number(f["n"]), minutes=f["minutes"]),
        "overrun": lambda f: _("%(type)s has run for %(time)s; 99%% of its kind take at most %(usual)s.", type=sanitize(registry.label_of(f["type"])),
                               time=duration(f["ms"]), usual=duration(f["usual_ms"])),
        "missed": lambda f: _("%(name)s did not run at %(time)s.", name=sanitize(f["name"]), time=_clock(f["at_ms"])),
        "rescued": lambda f: ngettext("%(num)s job was rescued from a dead worker.", "%(num)s jobs were rescued from dead workers.", f["n"]),
        "budget": lambda f: _("%(tenant)s has spent %(n)s%% of this month's budget: %(spent)s of %(limit)s.", tenant=sanitize(f["tenant"]),
                              n=number(f["percent"]), spent=money(f["spent"], f["currency"]), limit=money(f["limit"], f["currency"])),
        "disk": lambda f: _("%(n)s%% free, threshold %(limit)s%%.", n=number(f["percent"], 1), limit=number(f["limit"])),
    }.get(kind)
    if sentence is None:
        return kind
    scope = facts if kind in ("failures", "slow") else {}
    where = [_("type %(name)s", name=sanitize(registry.label_of(scope["type"])))] if "type" in scope else []
    where += [_("queue %(name)s", name=scope["queue"])] if "queue" in scope else []
    where += [_("tenant %(name)s", name=sanitize(scope["tenant"]))] if "tenant" in scope else []
    return f"{sentence(facts)} ({', '.join(where)})" if where else sentence(facts)


def notification(kind: str, facts: dict[str, Any]) -> str:
    """The sentence, or the kind's name when the facts are not of that kind."""
    try:
        return sentence(kind, facts)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return name(kind)


def message(phase: str, kind: str, facts: dict[str, Any], opened: int, closed: int | None, url: str) -> tuple[str, str]:
    """Title and body of the message when it begins (`open`) or is over."""
    lines = [sentence(kind, facts)]
    if phase == "over":
        title = pgettext("alert", "Over: %(name)s", name=name(kind))
        lines.append(_("It lasted %(time)s.", time=duration((closed or opened) - opened)))
    else:
        title = name(kind)
        lines.append(_("Since %(time)s.", time=_clock(opened)))
    return f"[Ainstein Jobs] {title}", "\n".join([*lines, url])


def digest(titles_and_bodies: list[tuple[str, str]]) -> tuple[str, str]:
    """Many messages as one."""
    n = len(titles_and_bodies)
    lines = [f"{title.removeprefix('[Ainstein Jobs] ')}: {' '.join(body.split(chr(10)))}" for title, body in titles_and_bodies]
    return "[Ainstein Jobs] " + ngettext("%(num)s message", "%(num)s messages", n), "\n".join(lines)


def test_message(actor: str) -> tuple[str, str]:
    return "[Ainstein Jobs] " + _("Test"), _("A test of this channel, asked for by %(name)s. Nothing is wrong.", name=sanitize(actor))


def repeated() -> str:
    return _("Repeated: the first sending was interrupted, so this may have come before.")


def _clock(ms: int) -> str:
    local = localtime(when(ms))
    return local.strftime("%d.%m. %H:%M") if local else ""
