"""Forecasts in words, in the reader's language: times with their interval, why one is not known, on what it rests.

Times are those of APP_TIMEZONE. They have seconds only when they are less than 5 min away; less than 5 s is "now".
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from app import registry
from app.services.forecast.estimate import Accuracy, Estimate, Interval, QueueForecast
from app.support.clock import MINUTE_MS, iso
from app.support.formatting import clock, duration, number
from app.support.messages import translate as _

NOW_MS, EXACT_MS, MOST_NAMES = 5_000, 5 * MINUTE_MS, 3
BEGINS, ENDS, EMPTY = "begins", "ends", "empty"


def about(what: str, interval: Interval, now: int) -> str:
    """'Begins at about 15:12 (between 15:08 and 15:31)'; `what` is BEGINS, ENDS or EMPTY."""
    said = {BEGINS: _("Begins"), ENDS: _("Ends"), EMPTY: _("Empty")}[what]
    low, middle, high = (max(at, now) for at in (interval.low, interval.middle, interval.high))
    if high - now < NOW_MS:
        return _("%(what)s now", what=said)
    exact = high - now < EXACT_MS
    at, (first, last) = clock(middle, now, exact), (clock(ms, middle, exact) for ms in (low, high))
    if middle - now < NOW_MS:
        return _("%(what)s now, or by %(last)s", what=said, last=last)
    if first == last:
        return _("%(what)s at about %(at)s", what=said, at=at)
    if low - now < NOW_MS:
        return _("%(what)s at about %(at)s (between now and %(last)s)", what=said, at=at, last=last)
    return _("%(what)s at about %(at)s (between %(first)s and %(last)s)", what=said, at=at, first=first, last=last)


def unknown(code: str | None, names: Iterable[str] = ()) -> str:
    """Why something is not known, without a stop: one clause for each code of a forecast."""
    labels = ", ".join(registry.label_of(name) for name in list(names)[:MOST_NAMES])
    clauses = {
        "monitor": _("the monitor has made no forecast lately"),
        "paused": _("it is paused until somebody resumes it"),
        "type": _("its type is paused"),
        "batch": _("its batch is paused"),
        "budget": _("its budget must allow it first"),
        "overlap": _("the run before it must end first"),
        "parents": _("what it waits for must complete first"),
        "workers": _("no worker serves the queue"),
        "types": _("no run of %(names)s yet", names=labels) if labels else _("no run of a type before it yet"),
        "growing": _("more arrives than ends"),
        "stuck": _("when the jobs that run will end is not known"),
        "silent": _("a worker does not report"),
        "over": _("a job is past its time limit"),
        "longer": _("it has run longer than every run of its type that is known"),
        "person": _("a person must do something first"),
        "cut": _("there are more jobs than are read"),
    }
    return clauses.get(code or "", _("it came after the last forecast"))


def crew(workers: int, wanted: int, silent: int) -> tuple[int, str]:
    """The workers of a queue in all, of which `workers` take jobs, `wanted` should run (0: not known) and `silent` do
    not respond; and a clause about the others, "" when there are none."""
    total = max(workers, wanted) if wanted else workers + silent
    silent = min(silent, total - workers)
    absent, said = total - workers - silent, ""
    if silent:
        said += _(", 1 does not respond") if silent == 1 else _(", %(n)s do not respond", n=number(silent))
    if absent:
        said += _(", 1 takes no jobs") if absent == 1 else _(", %(n)s take no jobs", n=number(absent))
    return total, said


def of_queue(found: QueueForecast | None, now: int, wanted: int = 0, silent: int = 0) -> list[str]:
    """When a queue that has ready jobs, and is not paused, will be empty; the first sentence is the main one. `wanted`
    and `silent` workers as in `crew`."""
    if found is None:
        return [_("Not known: %(why)s", why=unknown("monitor"))]
    said, (total, idle) = [], crew(found.workers, wanted, silent)
    if found.still_ms is not None:
        said.append(_("Does not move: %(busy)s of %(workers)s workers busy for %(time)s", busy=number(found.busy),
                      workers=number(total), time=duration(found.still_ms)) + idle)
    if found.empty:
        blind = [_("Without %(n)s of %(workers)s workers: when their jobs end is not known", n=number(found.blind),
                   workers=number(total))] if found.blind else []
        return [*said, about(EMPTY, found.empty, now), *blind]
    if found.why == "growing":
        return [*said, _("Never at this rate: more arrives than ends")]
    return [*said, _("Not known: %(why)s", why=unknown(found.why, found.names))]


def rests(estimate: Estimate) -> str:
    """On what the run time of a job rests."""
    n = number(estimate.count)
    return {
        "tenant": _("It rests on the last runs of its type and tenant: %(n)s.", n=n),
        "size": _("It rests on the last runs of its type with arguments of its size: %(n)s.", n=n),
        "tenant and size": _(
            "It rests on the last runs of its type and tenant with arguments of its size: %(n)s.", n=n),
        "learned": _("It is learned from the last runs of its type: %(n)s.", n=n),
    }.get(estimate.basis, _("It rests on the last runs of its type: %(n)s.", n=n))


def held(found: Accuracy) -> str:
    """How good the last predictions were."""
    if found.share is None:
        return _("No such prediction has been checked yet.")
    return _("%(share)s of the last %(n)s predictions held: the job ended within the interval, as 8 of 10 should.",
             share=f"{number(math.floor(found.share * 100))}%", n=number(found.checked))


def plain(interval: Interval | None) -> dict[str, str] | None:
    """An interval of times for scripts, in UTC."""
    return interval and {"at": iso(interval.middle), "from": iso(interval.low), "to": iso(interval.high)}
