"""The figures of the page of capacity: the busy share of the workers by hour, and the last replay in words.

worker_minutes (sampled by the monitor) -> hours        the fact `capacity` (written once an hour) -> sentences
Hours without samples (no monitor ran) have no share. A replay that never ran, or that has another form, is None.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models.types import as_integer
from app.services.forecast.capacity import FACT
from app.support.clock import DAY_MS, HOUR_MS, iso, now_ms, when
from app.support.formatting import duration, localtime, number, percent
from app.support.messages import _

PERIODS = {"24h": 1, "7d": 7}  # days
HIGH, MOST_NAMED, NO_WAIT_MS = 80, 5, 1000
LEAST_NEAR = 0.8  # the share of runs that a replay must reproduce before anything is claimed
_HOURS = """SELECT minute_ms - minute_ms % 3600000, SUM(samples), SUM(wanted), SUM(alive), SUM(busy) FROM worker_minutes
 WHERE minute_ms >= :since GROUP BY minute_ms - minute_ms % 3600000"""


@dataclass(frozen=True)
class BusyHour:
    """The workers in one hour (`date` as 2026-11-26T09:00:00Z), or in one hour of the day over 7 days (`date` is None).
    `share` is the percentage of the workers alive that had a job, `highest` that of the busiest of these hours (None
    without samples). `busy`, `alive` and `wanted` (those that should run) are means; `total` is the number of
    samples."""

    date: str | None
    label: str
    share: float | None
    highest: float | None
    busy: float | None
    alive: float | None
    wanted: float | None
    total: int


def busy_hours(period: str = "24h") -> list[BusyHour]:
    """The last 24 hours with the present one, oldest first; for `7d` the 24 hours of the day in APP_TIMEZONE."""
    hour = now_ms() // HOUR_MS * HOUR_MS
    since = hour - PERIODS[period] * DAY_MS + HOUR_MS
    rows = SessionExecutor(db.session).fetch_all(_HOURS, since=since)
    sums = {at: tuple(as_integer(n, 0) or 0 for n in rest) for at, *rest in rows}
    by_label: dict[str, list[int]] = defaultdict(list)
    for at in range(since, hour + HOUR_MS, HOUR_MS):
        local = localtime(when(at))
        by_label[f"{local:%H:%M}" if period == "7d" else f"{local:%H:%M %z}"].append(at)
    rows = []
    for label, hours in sorted(by_label.items()) if period == "7d" else by_label.items():
        some = [sums[at] for at in hours if at in sums and sums[at][0]]
        samples, wanted, alive, busy = (sum(column) for column in zip(*some, strict=True)) if some else (0, 0, 0, 0)
        shares = [_share(row[3], row[2]) for row in some if row[2]]
        means = [round(n / samples, 2) if samples else None for n in (busy, alive, wanted)]
        date = iso(hours[0]).replace(".000Z", "Z") if period == "24h" else None
        rows.append(BusyHour(date, label[:5], _share(busy, alive), max(shares, default=None), *means, samples))
    return rows


def _share(busy: int, alive: int) -> float | None:
    """Percentage; a frozen worker that has a job is busy and not alive."""
    return min(round(busy / alive * 100, 1), 100.0) if alive else None


def peaks(hours: list[BusyHour]) -> str | None:
    """A sentence that names the busiest hours; None without samples."""
    known = sorted((h for h in hours if h.share is not None), key=lambda h: -(h.share or 0))
    if not known:
        return None
    high = [h for h in known if (h.share or 0) >= HIGH] or known[:1]
    named = ", ".join(f"{h.label} ({percent(h.share)})" for h in high[:MOST_NAMED])
    if (more := len(high) - MOST_NAMED) > 0:
        named = _("%(hours)s and %(n)s more", hours=named, n=number(more))
    if (high[0].share or 0) < HIGH:
        return _("Busiest hour: %(hours)s. No hour was over %(high)s.", hours=named, high=f"{HIGH}%")
    return _("Hours over %(high)s, the busiest first: %(hours)s.", hours=named, high=f"{HIGH}%")


def last_replay() -> dict[str, Any] | None:
    """What `forecast/capacity.py: whole` returned last, with `age_ms`; None without it."""
    kept = counts.load(SessionExecutor(db.session), FACT)
    if kept is None or not isinstance(kept[0], dict) or not {"yesterday", "last", "hours", "at_ms"} <= kept[0].keys():
        return None
    return kept[0] | {"age_ms": kept[1]}


def verdict(study: dict[str, Any]) -> list[str]:
    """Sentences about one window: what more workers would have changed, and what one fewer."""
    longest = {row["workers"] - study["workers"]: row["waits"]["longest_ms"] for row in study["rows"] if row["waits"]}
    if 0 not in longest:
        return [_("No job arrived: nothing can be said.")]
    now, best, near = longest[0], longest[4], study["check"]["near"]
    sentences = []
    if near is not None and near < LEAST_NEAR:
        return [_("The replay does not match what was measured (%(near)s of the runs), so nothing is claimed.",
                  near=percent(near * 100))]
    if now < NO_WAIT_MS:
        sentences.append(_("More workers would not have helped: nobody waited."))
    elif now - best < max(0.1 * now, NO_WAIT_MS):
        sentences.append(_("More workers would hardly have helped: the longest waiting was %(before)s, with four more "
                           "it would have been %(after)s.", before=duration(now), after=duration(best)))
    else:
        more = next(n for n in (1, 2, 4) if now - longest[n] >= 0.8 * (now - best))
        words: dict[int, Callable[[], str]] = {
            1: lambda: _("One more worker would have cut the longest waiting from %(before)s to %(after)s.", **said),
            2: lambda: _("Two more workers would have cut the longest waiting from %(before)s to %(after)s.", **said),
            4: lambda: _("Four more workers would have cut the longest waiting from %(before)s to %(after)s.", **said)}
        said = {"before": duration(now), "after": duration(longest[more])}
        sentences.append(words[more]())
    if -1 in longest:
        fewer, said = longest[-1], {"after": duration(longest[-1])}
        sentences.append(_("One fewer would have done: the longest waiting would have been %(after)s.", **said)
                         if fewer - now < max(0.1 * now, NO_WAIT_MS) else
                         _("With one fewer it would have been %(after)s.", **said))
    return sentences


def trust(study: dict[str, Any]) -> list[str]:
    """Sentences that say how well the replay of a window reproduces what was measured, and what it leaves out."""
    check, said = study["check"], []
    if check["measured"]:
        said.append(_("Replayed with %(n)s workers, as many as ran, %(near)s of the runs wait as long as was measured "
                      "(within a fifth or 1 s); the longest waiting is %(replayed)s, measured was %(measured)s.",
                      n=number(check["workers"]), near=percent(check["near"] * 100),
                      replayed=duration(check["replayed"]["longest_ms"]),
                      measured=duration(check["measured"]["longest_ms"])))
        if not check["known"]:
            said.append(_("How many workers ran was not recorded: today's number is taken."))
        elif check["workers"] != study["workers"]:
            said.append(_("Now %(n)s should run; %(ran)s ran on average then.", n=number(study["workers"]),
                          ran=number(check["workers"])))
    if study["short_ms"]:
        said.append(_("Jobs that ran for less than %(time)s and arrived in the same second count together.",
                      time=duration(study["short_ms"])))
    for name, words in (("waiting", _("Left out, because they have not begun yet: %(n)s.", n=number(study["waiting"]))),
                        ("unserved", _("Left out, because no worker serves their queue now: %(n)s.",
                                       n=number(study["unserved"])))):
        if study[name]:
            said.append(words)
    return said
