"""The sections of a report in their order: each says its figures beside those of the period before.

A figure that is not known is an en dash, and a sentence of the section says why. The tables stand in
chapter_tables.py; costs, capacity and alerts in chapters_more.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_babel import gettext as _, ngettext

from app.services.reports import changes, chapter_tables as tables, chapters_more
from app.services.reports.document import Block, Point, Section, absolute
from app.services.reports.model import ReportFigures, Spread
from app.support.formatting import number


def sections(f: ReportFigures, public_url: str) -> Iterator[Section]:
    """All sections."""
    def to(path: str) -> str:
        return absolute(public_url, path)

    def section(key: str, title: str, whys: Iterable[str], *blocks: Block, more: tuple[str, str] = ("", "")) -> Section:
        link = to(more[1])
        return Section(key, title, tuple(Point(why) for why in dict.fromkeys(whys)), blocks,
                       Point(more[0], link) if link else None)

    counts = [(_("Jobs ended"), f.ended, "jobs"), (tables.completed(), f.completed, "jobs"),
              (tables.failed(), f.failed, "jobs"), (tables.success_rate(), f.success_rate, "percent"),
              (_("Jobs sent"), f.dispatched, "jobs"), (tables.cancelled(), f.cancelled, "jobs")]
    yield section(
        "volume", _("Volume and success"), [*changes.reasons(*(figure for _label, figure, _unit in counts)), *_more(f)],
        tables.figures("", counts, to), *tables.slots(f, to),
        tables.types(_("Types with the most jobs"), f.types, to), more=(_("Use by type"), f.link))
    yield section(
        "times", _("Waiting and running"),
        [*changes.reasons(f.wait, f.run), *_meaning(f.wait.now, f.wait.before, f.run.now, f.run.before)],
        tables.times(f), *tables.by_type(_("Waiting time by type"), f.types, "wait", to),
        *tables.by_type(_("Run time by type"), f.types, "run", to), more=(_("Jobs of this period"), f.ended.link))
    if any(row not in f.types for row in f.slowest):  # else "Run time by type" has them all
        yield section("slowest", _("Slowest types"), [], *tables.by_type("", f.slowest, "run", to, chart=False),
                      more=(_("Use by type"), f.link))
    known = not f.errors_why
    yield section(
        "errors", _("Errors"), [*changes.sentences([f.errors_why]), *_kinds(f)],
        tables.errors(_("New errors"), f.new_errors, f, to, _("No new error.") if known else ""),
        tables.errors(_("Most frequent errors"), f.frequent_errors, f, to, _("No job failed.") if known else ""),
        tables.types(_("Types with the most failures"), f.failing, to, failures=True),
        more=(_("Failed jobs of this period"), f.failed.link))
    yield section(
        "lost", _("Rescued and missed"), changes.reasons(f.rescued, f.missed),
        tables.figures("", [(_("Attempts lost with their worker (the job ran again)"), f.rescued, "jobs"),
                            (_("Missed runs of schedules"), f.missed, "jobs")], to),
        more=(_("Schedules"), f.missed.link))
    yield from chapters_more.sections(f, section, to)


def _more(f: ReportFigures) -> Iterator[str]:
    if f.type_count > len(f.types):
        yield _("%(n)s types had outcomes; the tables show at most %(most)s.", n=number(f.type_count),
                most=len(f.types))


def _meaning(*spreads: Spread | None) -> Iterator[str]:
    """What the columns mean, and how exact they are."""
    if any(spreads):
        yield _("The median is what half of the jobs took at most; p95 and p99 what 95 and 99 of 100 took at most.")
    if most := max((spread.error for spread in spreads if spread), default=0):
        yield _("The times are estimates, off by at most %(share)s.", share=number(100 * most, 1) + "%")


def _kinds(f: ReportFigures) -> Iterator[str]:
    if f.new_error_count is not None and f.error_count is not None:
        yield ngettext("%(n)s kind of error, %(new)s of them new.", "%(n)s kinds of errors, %(new)s of them new.",
                       f.error_count, n=number(f.error_count), new=number(f.new_error_count))
