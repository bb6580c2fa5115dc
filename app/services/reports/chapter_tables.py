"""The tables and charts of volume, times and errors, from the rows of the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from flask_babel import gettext as _, pgettext

from app.services.reports import moments
from app.services.reports.changes import NONE, difference, quantiles, show
from app.services.reports.document import MOST_TITLE, Bars, Block, Cell, Head, Link, Ranges, Table, tidy
from app.services.reports.model import ErrorRow, Figure, ReportFigures, Slot, Spread, TypeRow
from app.services.reports.words import title as title_of
from app.support.formatting import duration, number

MOST_SLOTS = 62  # days in a table; of a longer range the weeks are shown, and the CSV has each day


def completed() -> str:
    """'Completed', of many jobs."""
    return pgettext("many", "Completed")


def failed() -> str:
    """'Failed', of many jobs."""
    return pgettext("many", "Failed")


def cancelled() -> str:
    """'Cancelled', of many jobs."""
    return pgettext("many", "Cancelled")


def success_rate() -> str:
    """'Success rate'; pages have the specification's own words in each language."""
    return pgettext("report", "Success rate")


def figures(title: str, rows: Iterable[tuple[str, Figure, str]], to: Link) -> Table:
    """(label, figure, unit) as a table: now, before, difference."""
    heads = (Head(_("Figure"), number=False, share=2.4), Head(_("This period")), Head(_("Period before")),
             Head(_("Difference"), share=1.9))
    return Table(title, heads, tuple(
        (Cell(label, link=to(one.link)), Cell(show(one.now, unit)), Cell(show(one.before, unit)),
         Cell(difference(one.now, one.before, unit) or NONE)) for label, one, unit in rows))


def slots(f: ReportFigures, to: Link) -> Iterator[Block]:
    """The jobs of each day or hour: bars (if any job ended) and their table."""
    was = _("before") if f.slots_before else ""
    hourly, weekly = bool(f.slots) and moments.hourly(f.slots[0]), len(f.slots) > MOST_SLOTS
    title = _("Jobs by hour") if hourly else _("Jobs by week") if weekly else _("Jobs by day")
    pairs = list(zip_longest(*map(_weeks, (f.slots, f.slots_before))) if weekly else
                 zip_longest(f.slots, f.slots_before))

    def cell(now: Slot | None, before: Slot | None, name: str) -> Cell:
        return Cell(number(getattr(now, name)) if now else NONE, number(getattr(before, name)) if before else "")

    def day(now: Slot | None, before: Slot | None) -> Cell:
        return Cell(moments.slot(now, f) if now else NONE, moments.slot(before, f) if before else "",
                    to(now.link) if now else "")

    if any(now and now.completed + now.failed for now, _before in pairs):
        yield Bars(title, (failed(), completed(), _("Ended in the period before")), tuple(
            (moments.slot(now, f, short=True), now.failed, now.completed,
             before.completed + before.failed if before else None) for now, before in pairs if now))
    names = ((completed(), "completed"), (failed(), "failed"), (cancelled(), "cancelled"),
             (pgettext("many", "Lost"), "lost"))
    heads = (Head(_("Hour") if hourly else _("Week from") if weekly else _("Day"), was, number=False, share=1.4),
             *(Head(head, was) for head, _name in names))
    yield Table(title, heads, tuple((day(*pair), *(cell(*pair, name) for _head, name in names)) for pair in pairs),
                _("The period has no day."))


def _weeks(slots: tuple[Slot, ...]) -> list[Slot]:
    """Seven days each as one slot, which no page counts; the last may be shorter."""
    return [Slot(some[0].since, some[-1].until, *(sum(getattr(one, part) for one in some) for part in (
        "completed", "failed", "cancelled", "lost"))) for some in (slots[n:n + 7] for n in range(0, len(slots), 7))]


def _name(row: TypeRow, link: str) -> Cell:
    return Cell(tidy(row.label), tidy(row.name) if row.name != row.label else "", link)


def types(title: str, rows: Iterable[TypeRow], to: Link, failures: bool = False) -> Table:
    """Outcomes by type; with `failures` its links lead to the failed jobs."""
    was = _("before")
    heads = (Head(_("Type"), number=False, share=2.4), Head(completed()), Head(failed(), was),
             Head(pgettext("many", "Ended"), was), Head(success_rate()), Head(_("Run time in total"), share=1.2))
    return Table(title, heads, tuple(
        (_name(row, to(row.failed_link if failures else row.link)), Cell(number(row.completed)),
         Cell(number(row.failed), show(row.failed_before, "jobs")),
         Cell(number(row.completed + row.failed), show(row.before, "jobs")), Cell(show(row.success_rate, "percent")),
         Cell(duration(row.busy_ms))) for row in rows), _("No job failed.") if failures else _("No job ended."))


def _heads(was: str = "") -> tuple[Head, ...]:
    return Head(_("Median"), was), Head("p95", was), Head("p99", was), Head(_("Times counted"), was)


def times(f: ReportFigures) -> Table:
    """Waits and run times of all jobs, and those of the period before."""
    def row(label: str, spread: Spread | None) -> tuple[Cell, ...]:
        return Cell(label), *(Cell(duration(ms)) for ms in quantiles(spread)), Cell(number(spread and spread.total))

    return Table("", (Head(pgettext("span", "Time"), number=False, share=2), *_heads()), (
        row(_("Waiting time"), f.wait.now), row(_("Waiting time, period before"), f.wait.before),
        row(_("Run time"), f.run.now), row(_("Run time, period before"), f.run.before)))


def by_type(title: str, rows: Iterable[TypeRow], part: str, to: Link, chart: bool = True) -> Iterator[Block]:
    """The times (`part` is wait or run) of each type that has some: their chart and their table."""
    known = [(row, getattr(row, part), row.run_before if part == "run" else None) for row in rows if getattr(row, part)]
    if chart and known:
        drawn = []
        for row, spread, _before in known:
            a, b, c = quantiles(spread)
            drawn.append((tidy(row.label, 40), (a or 0, b or 0, c or 0), (duration(a), duration(b), duration(c))))
        yield Ranges(title, (_("Median"), "p95", "p99"), tuple(drawn))
    heads = (Head(_("Type"), number=False, share=2), *_heads(_("before") if part == "run" else ""))
    yield Table(title, heads, tuple(
        (_name(row, to(row.link)), *(Cell(duration(ms), duration(old) if before else "") for ms, old in
                                     zip(quantiles(spread), quantiles(before), strict=True)),
         Cell(number(spread.total), number(before.total) if before else "")) for row, spread, before in known),
        _("No time is known."))


def errors(title: str, rows: Iterable[ErrorRow], f: ReportFigures, to: Link, empty: str) -> Table:
    """Groups of failures; `empty` is the sentence for none ("": they are not known)."""
    def most(row: ErrorRow) -> str:
        return ", ".join(f"{tidy(name, 24) or _('(no tenant)')} {number(n)}" for name, n in row.largest[:3])

    heads = (Head(_("Error"), number=False, share=3.2), Head(failed(), _("before"), share=.8),
             Head(_("Tenants"), _("the largest"), number=False, share=1.5), Head(_("First"), number=False, share=1.1))
    return Table(title, heads, tuple(
        (Cell(tidy(title_of(row.title), MOST_TITLE), tidy(row.label), to(row.link)),
         Cell(number(row.count), show(row.before, "jobs")), Cell(number(row.tenants), most(row)),
         Cell(moments.at(row.first_ms, f), _("new") if row.is_new else "")) for row in rows),
        empty or _("The errors are not known."))
