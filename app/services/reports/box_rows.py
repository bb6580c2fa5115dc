"""What a report says of the whole installation: workers and machine, alerts that opened, runs of schedules missed.

worker_minutes, machine_minutes (32 days) -> Capacity     alerts (90 days after their end) -> AlertRow
recurring_runs -> missed                                   a time without samples -> None, and why
"""

from __future__ import annotations

import json
from urllib.parse import quote

from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models.types import as_integer, as_text
from app.services.alerts import texts
from app.services.reports import links
from app.services.reports.model import MOST_ROWS, AlertRow, Capacity, Figure, Number, PeakHour
from app.support.validation import stored_object

MOST_PEAKS = 5
_CREW = """SELECT minute_ms - minute_ms % 3600000, SUM(samples + 0.0), SUM(alive + 0.0), SUM(busy + 0.0)
 FROM worker_minutes WHERE minute_ms >= :low AND minute_ms < :until GROUP BY minute_ms - minute_ms % 3600000"""
_BOX = """SELECT MAX(cpu), MAX(memory), MAX(disk_total - disk_free), MAX(oldest_ms), COUNT(*), MAX(memory_total),
 MAX(disk_total) FROM machine_minutes WHERE minute_ms >= :low AND minute_ms < :until"""
_OPENED = "SELECT COUNT(*) FROM alerts WHERE opened_ms >= :low AND opened_ms < :until"
_ALERTS = f"""SELECT kind, severity, subject, facts, opened_ms, closed_ms FROM alerts
 WHERE opened_ms >= :low AND opened_ms < :until ORDER BY opened_ms DESC, id DESC LIMIT {MOST_ROWS}"""
_MISSED = """SELECT name, COUNT(*) FROM recurring_runs WHERE why = 'missed' AND minute_utc >= :low
 AND minute_utc < :until GROUP BY name"""
Span = tuple[int, int]


def _rows(sql: str, span: Span) -> list[tuple]:
    return SessionExecutor(db.session).fetch_all(sql, low=span[0], until=span[1])


def capacity(now: Span, before: Span, why: str, why_before: str) -> Capacity:
    """Workers and machine in two times (ms); with `why` and `why_before` (codes) their rows are deleted already."""
    whys = why, why_before
    crews = [[tuple(as_integer(n, 0) or 0 for n in row) for row in _rows(_CREW, span)]
             for span in (now, before)]
    box, was = ([as_integer(n) for n in _rows(_BOX, span)[0]] for span in (now, before))

    def figure(*values: Number) -> Figure:
        known = [None if code else value for value, code in zip(values, whys, strict=True)]
        return Figure(*known, *(code or "samples" if value is None else ""
                                for value, code in zip(known, whys, strict=True)))

    peaks = [PeakHour(hour, share) for hour, _n, alive, busy in crews[0]
             if not why and (share := _share(alive, busy)) is not None]
    cpu = [None if row[0] is None else row[0] / 10 for row in (box, was)]
    oldest = [(row[3] or 0) if row[4] else None for row in (box, was)]  # no job waited in a minute: NULL
    return Capacity(
        figure(*(_share(*(sum(row[n] for row in crew) for n in (2, 3))) for crew in crews)),
        figure(*(_mean(sum(row[2] for row in crew), sum(row[1] for row in crew)) for crew in crews)),
        figure(*oldest), figure(*cpu), figure(box[1], was[1]), box[5], figure(box[2], was[2]), box[6],
        tuple(sorted(peaks, key=lambda peak: (-peak.share, peak.since))[:MOST_PEAKS]))


def _share(alive: int, busy: int) -> float | None:
    """Percentage; a frozen worker that has a job is busy and not alive."""
    return min(100 * busy / alive, 100.0) if alive else None


def _mean(alive: int, samples: int) -> float | None:
    return round(alive / samples, 2) if samples else None


def alerts(now: Span, before: Span, why: str, why_before: str) -> tuple[Figure, tuple[AlertRow, ...]]:
    """How many alerts opened in two times, and the latest of the first one."""
    link, numbers = f"{links.BASE}alerts/", [_rows(_OPENED, span)[0][0] for span in (now, before)]
    rows = [AlertRow(as_text(kind) or "", as_text(severity) or "", as_text(subject) or "",
                     json.dumps(texts.worst(stored_object(facts))), as_integer(opened, 0) or 0, as_integer(closed),
                     link)
            for kind, severity, subject, facts, opened, closed in _rows(_ALERTS, now)]
    return Figure(None if why else numbers[0], None if why_before else numbers[1], why, why_before, link), tuple(rows)


def missed(now: Span, before: Span) -> Figure:
    """How many runs of schedules no monitor looked at in time."""
    found = [{as_text(name) or "": n for name, n in _rows(_MISSED, span)} for span in (now, before)]
    (only,) = found[0] if len(found[0]) == 1 else ("",)
    path = f"{links.BASE}recurring" + (f"/{quote(only, safe='')}" if only else "")
    return Figure(*(sum(names.values()) for names in found), link=path)
