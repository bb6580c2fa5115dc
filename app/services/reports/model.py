"""The figures of a report as plain values, and their JSON: a report is drawn from it without the database.

figures.collect -> ReportFigures -> `to_json` (reports.figures) -> `from_json` -> PDF, mail, CSV
A value of None is not known; a code in `why` names the reason, which words.py says in the reader's language. Links are
path and query of the page that counts the same, without the address of the site; "" where no page counts it. JSON of
another form raises ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Number = int | float | None


@dataclass(frozen=True)
class ReportFilter:
    """What a report is limited to; None: everything."""

    job_type: str | None = None
    tenant_id: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class Figure:
    """A number of the period and of the period `before`; `why` and `why_before` are codes of words.py where it is None.
    The unit stands where the field is declared."""

    now: Number = None
    before: Number = None
    why: str = ""
    why_before: str = ""
    link: str = ""

    @property
    def change(self) -> Number:
        """By how much it grew, in its own unit (percentage points for percentages); None unless both are known."""
        return None if self.now is None or self.before is None else self.now - self.before


@dataclass(frozen=True)
class Spread:
    """Quantiles of `total` times, in ms, each off by at most `error` (a share: 0.02 is 2 %); None without any times."""

    p50: float | None
    p95: float | None
    p99: float | None
    total: int
    error: float


@dataclass(frozen=True)
class Times:
    """A Spread of the period and of the one before; codes as in Figure."""

    now: Spread | None = None
    before: Spread | None = None
    why: str = ""
    why_before: str = ""
    link: str = ""


@dataclass(frozen=True)
class Slot:
    """A bar of the chart: a day of APP_TIMEZONE, an hour of a report of at most two days, seven days of one of more
    than 93 days. Times in ms; final outcomes, jobs cancelled and attempts lost in it."""

    since: int
    until: int
    completed: int
    failed: int
    cancelled: int
    lost: int
    link: str = ""


@dataclass(frozen=True)
class TypeRow:
    """A job type: final outcomes in the period (`before`: all those of the period before; None: not known), the
    `success_rate` in percent, and `busy_ms`, the run time of all its attempts (None: not known). `wait` and `run` are
    None where they are not known (ReportFigures.wait says why)."""

    name: str
    label: str
    completed: int
    failed: int
    success_rate: float | None
    before: int | None
    failed_before: int | None
    busy_ms: int | None
    wait: Spread | None
    run: Spread | None
    run_before: Spread | None
    link: str = ""
    failed_link: str = ""


@dataclass(frozen=True)
class ErrorRow:
    """A group of failures. `count` failed in the period, `before` in the one before, of `tenants` tenants (the largest:
    (name, jobs)). `first_ms` is when its first job failed; `is_new`: that was in the period."""

    key: str
    job_type: str
    label: str
    title: str
    count: int
    before: int | None
    tenants: int
    largest: tuple[tuple[str, int], ...]
    first_ms: int
    is_new: bool
    link: str = ""


@dataclass(frozen=True)
class CostRow:
    """Costs of a tenant ("": without tenant) in one currency, in billionths (nano) of its unit. `nano` is that of the
    period and `before` that of the one before, without the `unknown` requests, whose cost nobody knows, of `requests`.
    `month` is that of the calendar month in which the period ends, until the end of the period. `budget` is the monthly
    one (None: none in this currency, or the report is of one type; 0: nothing may be spent), `percent` of it is spent
    (None without a budget, or with one of 0), and `hold`: at 100 percent its generations wait."""

    tenant_id: str
    currency: str
    nano: int
    before: int
    requests: int
    unknown: int
    month: int
    budget: int | None
    percent: float | None
    hold: bool
    link: str = ""


@dataclass(frozen=True)
class CostTotal:
    """Costs of all in one currency; fields as in CostRow."""

    currency: str
    nano: int
    before: int
    requests: int
    unknown: int
    month: int
    link: str = ""


@dataclass(frozen=True)
class Costs:
    """Costs: the highest first, at most MOST_ROWS rows; `more` follow, for the CSV; `tenants` is how many there are.
    `why` (a code) when they are not known: then there are no rows. `month_since` (ms) is the start of the month of
    CostRow.month."""

    rows: tuple[CostRow, ...] = ()
    totals: tuple[CostTotal, ...] = ()
    tenants: int = 0
    month_since: int = 0
    why: str = ""
    more: tuple[CostRow, ...] = ()


@dataclass(frozen=True)
class PeakHour:
    """An hour (its start in ms) and the percentage of the workers alive that were busy in it."""

    since: int
    share: float


@dataclass(frozen=True)
class Capacity:
    """Workers and machine, of the whole installation whatever the filter. `busy` is the percentage of the workers alive
    that had a job, `workers` how many were alive on average, `oldest_wait` (ms) the longest that the oldest ready job
    had waited, `cpu` percent, `memory` and `disk` (used) bytes at the highest minute; `memory_total` and `disk_total`
    bytes. `peaks`: the busiest hours, the busiest first."""

    busy: Figure = Figure()
    workers: Figure = Figure()
    oldest_wait: Figure = Figure()
    cpu: Figure = Figure()
    memory: Figure = Figure()
    memory_total: int | None = None
    disk: Figure = Figure()
    disk_total: int | None = None
    peaks: tuple[PeakHour, ...] = ()


@dataclass(frozen=True)
class AlertRow:
    """An alert that opened in the period. `facts` is JSON of its kind, for alerts/texts.py: `notification`; times in
    ms; `closed_ms` None: still open when the figures were read."""

    kind: str
    severity: str
    subject: str
    facts: str
    opened_ms: int
    closed_ms: int | None
    link: str = ""


@dataclass(frozen=True)
class ReportFigures:
    """All figures of a report.

    `period` is day, week, month or "" for a range; times in ms: the period is [since, until), the one it is compared
    with [before_since, before_until). `made_ms` is when the figures were read: a period that ends later is not over.
    `zone` is the name of APP_TIMEZONE. Numbers of jobs: `dispatched` (sent in the period), `ended` (final outcomes:
    completed and failed), `completed`, `failed`, `success_rate` (percent), `cancelled`, `rescued` (attempts that were
    lost with their worker; the job ran again), `missed` (runs of schedules). `slowest` are types by their p95 of run
    times (`slowest_why`: why there are none), `failing` by failures, `types` by outcomes, each at most MOST_ROWS;
    `type_count` is how many types had outcomes. `new_errors` (the first failure lies in the period) and
    `frequent_errors` have the most failures first, at most MOST_ROWS of `new_error_count` and `error_count`.
    `more_types` and `more_errors` are the others, for the CSVs: at most MOST_KINDS with those before.
    `alerts_opened` counts all, `alerts` has the latest MOST_ROWS. `notes` are codes of words.py for the whole report.
    """

    period: str
    since: int
    until: int
    before_since: int
    before_until: int
    zone: str
    made_ms: int
    filter: ReportFilter = ReportFilter()
    link: str = ""
    dispatched: Figure = Figure()
    ended: Figure = Figure()
    completed: Figure = Figure()
    failed: Figure = Figure()
    success_rate: Figure = Figure()
    cancelled: Figure = Figure()
    rescued: Figure = Figure()
    missed: Figure = Figure()
    slots: tuple[Slot, ...] = ()
    slots_before: tuple[Slot, ...] = ()
    wait: Times = Times()
    run: Times = Times()
    types: tuple[TypeRow, ...] = ()
    slowest: tuple[TypeRow, ...] = ()
    slowest_why: str = ""
    failing: tuple[TypeRow, ...] = ()
    more_types: tuple[TypeRow, ...] = ()
    type_count: int = 0
    errors_why: str = ""
    new_errors: tuple[ErrorRow, ...] = ()
    new_error_count: int | None = None
    frequent_errors: tuple[ErrorRow, ...] = ()
    more_errors: tuple[ErrorRow, ...] = ()
    error_count: int | None = None
    costs: Costs = field(default_factory=Costs)
    capacity: Capacity = field(default_factory=Capacity)
    alerts_opened: Figure = Figure()
    alerts: tuple[AlertRow, ...] = ()
    notes: tuple[str, ...] = ()


MOST_ROWS, MOST_KINDS = 10, 1000  # in a table, and in a CSV, whose last row sums up what is beyond
