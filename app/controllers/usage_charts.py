"""The charts of a page of use: bars as the templates draw them, each a link to exactly the jobs that it counts.

UsagePage -> `charts` -> {"title", "top", "bars", "labels", "lines", "key"}: heights are percentages of the highest bar
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from flask import url_for
from flask_babel import format_datetime, gettext as _

from app.services.reports.links import local_time
from app.services.stats import colours
from app.services.stats.usage import UsagePage
from app.support.clock import DAY_MS, when
from app.support.formatting import duration, filesize, number, percent


def moment(ms: int) -> str:
    """'26 Nov 14:00' in APP_TIMEZONE."""
    return format_datetime(when(ms), "d MMM HH:mm")


def jobs_url(scope: str, name: str, since: int, until: int, part: str = "outcome", **more: str) -> str:
    """The list of the jobs of a name that completed or failed (`part` outcome), or failed, from `since` to before
    `until` (ms), whatever became of them: a figure counts each outcome, the list has each job once."""
    return url_for("admin.jobs.list", **{scope: name, part: f"{local_time(since)}..{local_time(until)}"}, **more)


def _chart(title: str, rows: Iterable[tuple[str, str | None, list[tuple[str, float | None]]]], show: Callable[..., str],
           labels: list[str], key: Iterable[tuple[str, str]] = (), top: float | None = None,
           lines: Iterable[tuple[float, str, str]] = ()) -> dict[str, Any]:
    """`rows` are (title, address, [(class of the colour, value)]), the parts from below; `top` is the highest value."""
    rows = list(rows)
    top = top or max((sum(value or 0 for _kind, value in parts) for *_rest, parts in rows), default=0)
    bars = []
    for title_of, url, parts in rows:
        at, drawn = 0.0, []
        for kind, value in parts:
            height = round(min(100 * (value or 0) / top, 100 - at), 2) if top else 0
            drawn += [(kind, round(100 - at - height, 2), max(height, 0.6))] if value else []
            at += height
        bars.append({"title": title_of, "url": url, "parts": drawn})
    return {"title": title, "top": show(top) if top else "", "bars": bars, "labels": labels, "key": list(key),
            "lines": list(lines), "some": any(bar["parts"] for bar in bars)}


def charts(found: UsagePage) -> dict[str, list[dict[str, Any]]]:
    """{"use": throughput and times, "box": the machine on the same time axis, "spread": histograms}."""
    window, bars = found.window, found.bars
    urls = [jobs_url(found.scope, found.name, bar.since, bar.until) for bar in bars]
    names = [moment(bar.since) for bar in bars]
    labels = [names[0], names[len(names) // 2], moment(window.until)]
    span = window.until - window.since
    lines = [(round(100 * (at - window.since) / span, 2), f"{text} ({moment(at)})",
              url_for("admin.jobs.list", deploy=id_)) for id_, at, text in found.deploys]
    own = f"k{colours.colour_of(found.name)}" if found.scope == "type" else "k1"

    def over_time(title: str, show: Callable[..., str], *parts: tuple[str, str, list[Any]],
                  top: float | None = None) -> dict[str, Any]:
        rows = [(f"{name}: " + ", ".join(f"{word} {show(values[n])}".strip() for _kind, word, values in parts), urls[n],
                 [(kind, values[n]) for kind, _word, values in parts]) for n, name in enumerate(names)]
        return _chart(title, rows, show, labels, [p[:2] for p in parts if p[1]], top, lines)

    of, box = (lambda name: [getattr(bar, name) for bar in bars]), (lambda name: [getattr(b, name) for b in found.box])
    idle = [None if b.alive is None or b.busy is None else max(b.alive - b.busy, 0) for b in found.box]
    most = [max((n for n in box(name) if n), default=None) for name in ("memory_total", "disk_total")]
    step = duration(window.step) if window.step < DAY_MS else _("%(n)s d", n=window.step // DAY_MS)
    return {
        "use": [over_time(_("Outcomes, each bar %(time)s", time=step), number, (own, _("completed"), of("completed")),
                          ("failed", _("failed"), of("failed"))),
                over_time(_("Run time, p95"), duration, (own, "", of("run_p95"))),
                over_time(_("Waiting time, p95"), duration, (own, "", of("wait_p95")))],
        "box": [over_time(_("Processor"), percent, ("k5", "", box("cpu")), top=100),
                over_time(_("Memory"), filesize, ("k5", "", box("memory")), top=most[0]),
                over_time(_("Disk"), filesize, ("k5", "", box("disk_used")), top=most[1]),
                over_time(_("Database and WAL"), filesize, ("k5", _("database"), box("database")),
                          ("k2", _("WAL"), box("wal"))),
                over_time(_("Workers"), _mean, ("k5", _("busy"), box("busy")), ("k2", _("idle"), idle)),
                over_time(_("Oldest waiting, all queues"), duration, ("k3", "", box("oldest_ms")))],
        "spread": [_histogram(found, title, rows, own, parts) for title, rows, parts in (
            (_("Run times"), found.runs, lambda low, end: {"longer": low, "shorter": end}),
            (_("Waiting times"), found.waits, lambda low, end: {"waited": f"{low}-{end}"}))],
    }


def _mean(value: float | None) -> str:
    return number(value, 1)


def _histogram(found: UsagePage, title: str, rows: list[tuple[int, int, int]], own: str,
               parts: Callable[[str, str], dict[str, str]]) -> dict[str, Any]:
    ends = [(duration(low), duration(high)) for low, high, _n in rows if high > low]
    fine = any(low == high for low, high in ends) or any(a[0] == b[0] for a, b in pairwise(ends))
    told = [(f"{duration(low, fine)} – {duration(high, fine)}" if high > low else duration(low, fine), n,
             jobs_url(found.scope, found.name, found.window.since, found.window.until,
                      **parts(_exactly(low), _exactly(high + 1)))) for low, high, n in rows]
    chart = _chart(title, [(f"{name}: {number(n)}", url, [(own, n)]) for name, n, url in told], number,
                   [duration(ms, fine) for ms in (rows[0][0], rows[len(rows) // 2][0], rows[-1][1])] if rows else [])
    return chart | {"rows": [row for row in told if row[1]]}


def _exactly(ms: int) -> str:
    """A time as the list reads it."""
    return f"{ms}ms" if ms < 10**9 else f"{ms // 1000}.{ms % 1000:03}s"
