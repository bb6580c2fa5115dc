"""Two reports that are ready to be drawn: of a week in which nothing happened, and of one with much of everything."""

from __future__ import annotations

import json
from dataclasses import replace

from app.services.reports import model as m

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_792_360_800_000  # Monday 19 October 2026, 00:00 in Rome; the clocks go back on Sunday: 169 hours
UNTIL = SINCE + 169 * HOUR
LONG = "ImportazioneProdottiDaFornitoriEsterniConImmaginiETraduzioniAutomaticheVersione2"
NASTY = '<b>=HYPERLINK("http://x")</b> & "quotes" \u202e 日本語 🛒'
_DAYS = [SINCE + n * DAY for n in range(7)] + [UNTIL]

EMPTY = m.ReportFigures(
    "week", SINCE, UNTIL, SINCE - 7 * DAY, SINCE, "Europe/Rome", UNTIL + 7 * HOUR, link="/admin/jobs/usage/?by=type",
    dispatched=m.Figure(0, 0), ended=m.Figure(0, 0), completed=m.Figure(0, 0), failed=m.Figure(0, 0),
    success_rate=m.Figure(None, None, "never", "never"), cancelled=m.Figure(0, 0), rescued=m.Figure(0, 0),
    missed=m.Figure(0, 0),
    slots=tuple(m.Slot(low, high, 0, 0, 0, 0) for low, high in zip(_DAYS, _DAYS[1:], strict=False)),
    wait=m.Times(None, None, "never", "never"), run=m.Times(None, None, "never", "never"), new_error_count=0, error_count=0,
    capacity=m.Capacity(*[m.Figure(None, None, "samples", "samples")] * 5, None, m.Figure(None, None, "samples", "samples")),
    alerts_opened=m.Figure(0, 0))


def _type(n: int, name: str) -> m.TypeRow:
    done, failed = 90_000 // (n + 1), (0, 7, 1_234)[n % 3]
    return m.TypeRow(
        name, f"{name} (label)" if n else LONG, done, failed, 100 * done / (done + failed), done - 50 if n % 2 else None,
        3 if n % 2 else None, done * 1500, m.Spread(40.0, 900.0 + n, 61_000.0, done, 0.02),
        m.Spread(1200.0 + 10 * n, 8_000.0 + 1000 * n, 600_000.0, done + failed, 0.04), m.Spread(1000.0, 7000.0, 9000.0, 80, 0.02),
        f"/admin/jobs/usage/type/{name}?from=2026-10-19&until=2026-10-25",
        f"/admin/jobs/list?type={name}&state=unsuccessful&since=2026-10-19T00%3A00&until=2026-10-26T00%3A00")


def _error(n: int) -> m.ErrorRow:
    return m.ErrorRow(f"{n:016x}", LONG if n % 2 else "ContentGeneration", LONG if n % 2 else "Content generation",
                    NASTY if n == 2 else f"ConnectionError: no answer from … after … s ({'long ' * 30 if n == 1 else n})",
                    9000 // (n + 1), None if n % 4 == 3 else 12 * n, 1 + n,
                    tuple((f"tenant-{m}", 100 - m) for m in range(min(n + 1, 20))), SINCE + n * HOUR, n < 5,
                    f"/admin/jobs/list?state=unsuccessful&error={n:016x}")


def _cost(n: int) -> m.CostRow:
    budget = (50_000_000_000, 0, None, 1_000_000_000)[n % 4]
    month = (n + 1) * 9_870_000_001
    return m.CostRow(LONG[:60] if n == 1 else NASTY if n == 5 else "" if n == 2 else f"tenant-{n}", "EUR" if n == 3 else "USD", (n + 1) * 1_234_567_890,
                   n * 1_000_000_000, 1000 - n, n % 3, month, budget, 100 * month / budget if budget else None, n % 4 == 0,
                   "/admin/jobs/costs/?since=2026-10-19&until=2026-10-25")


_TYPES = [_type(n, name) for n, name in enumerate((
    LONG, "ContentGeneration", "WordPressSync", "PrestaShopSync", "ProcessCsvImport", "Export", "Mail", "Resize", "Nightly",
    NASTY))]

RICH = replace(
    EMPTY, link="/admin/jobs/usage/?by=type&from=2026-10-19T00:00&until=2026-10-26T00:00",
    dispatched=m.Figure(1_004_321, 998_000), ended=m.Figure(1_000_000, 1_200_345, link="/admin/jobs/usage/?by=type"),
    completed=m.Figure(987_654, 1_180_000, link="/admin/jobs/list?state=completed"),
    failed=m.Figure(12_346, 20_345, link="/admin/jobs/list?state=unsuccessful"), success_rate=m.Figure(98.7654, 98.305),
    cancelled=m.Figure(321, 0, link="/admin/jobs/list?state=cancelled"), rescued=m.Figure(17, None, why_before="kept"),
    missed=m.Figure(2, 1, link="/admin/jobs/recurring"),
    slots=tuple(m.Slot(low, high, 100_000 + 20_000 * n, 3_000 * (n % 3), 40 * n, n, f"/admin/jobs/list?state=counted&day={n}")
                for n, (low, high) in enumerate(zip(_DAYS, _DAYS[1:], strict=False))),
    slots_before=tuple(m.Slot(low - 7 * DAY, low - 6 * DAY, 150_000, 2_900, 0, 0) for low in _DAYS[:7]),
    wait=m.Times(m.Spread(35.0, 61_000.0, 3_900_000.0, 999_000, 0.02), m.Spread(30.0, 2_000.0, 9_000.0, 900_000, 0.08)),
    run=m.Times(m.Spread(1_400.0, 9_800.0, 125_000.0, 1_000_000, 0.02), None, why_before="usage"),
    types=tuple(_TYPES), slowest=tuple(reversed(_TYPES)), failing=tuple(row for row in _TYPES if row.failed), type_count=187,
    new_errors=tuple(map(_error, range(5))), new_error_count=5, frequent_errors=tuple(map(_error, range(10))), error_count=312,
    costs=m.Costs(tuple(map(_cost, range(10))), (m.CostTotal("USD", 98_765_432_109, 88_000_000_000, 9_955, 9, 543_210_000_000),
                                               m.CostTotal("EUR", 4_938_271_560, 0, 45, 0, 39_480_000_004)),
                140, SINCE - 18 * DAY),
    capacity=m.Capacity(m.Figure(71.3, 65.0), m.Figure(3.8, 4.0), m.Figure(5_400_000, 120_000), m.Figure(97.5, 88.1),
                      m.Figure(3_900_000_000, 3_100_000_000), 4_100_000_000, m.Figure(35_000_000_000, None, why_before="kept"),
                      40_000_000_000, tuple(m.PeakHour(SINCE + (33 + n) * HOUR, 99.0 - n) for n in range(5))),
    alerts_opened=m.Figure(14, 3, link="/admin/jobs/alerts"),
    alerts=tuple(m.AlertRow(kind, severity, "", json.dumps(facts), SINCE + n * DAY, None if n == 0 else SINCE + n * DAY + HOUR)
                 for n, (kind, severity, facts) in enumerate((
                     ("disk", "critical", {"percent": 4.2, "limit": 5}), ("missed", "warning", {"name": LONG, "at_ms": SINCE}),
                     ("rescued", "warning", {"n": 3, "minutes": 15}), ("no such kind", "info", {"x": NASTY})))),
    notes=("behind", "running"))

FILTERED = replace(
    EMPTY, filter=m.ReportFilter("WordPressSync", LONG[:60], "low"), dispatched=m.Figure(None, None, "many", "kept"),
    costs=m.Costs(why="queue"), new_error_count=None, error_count=None, errors_why="queue", missed=m.Figure(None, None, "filter", "filter"))
ALL = {"empty": EMPTY, "rich": RICH, "filtered": FILTERED}
