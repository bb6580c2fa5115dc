"""The first page of a report: its key numbers beside those of the period before, and what needs attention first.

`of(figures, language, public_url)` -> Document
"""

from __future__ import annotations

from collections.abc import Iterator

from flask_babel import force_locale, gettext as _, ngettext, pgettext

from app.services.reports import changes, chapter_tables as tables, chapters, moments, words
from app.services.reports.document import Document, Fact, Point, absolute, tidy
from app.services.reports.model import CostRow, Figure, ReportFigures, Spread, Times
from app.support.formatting import duration, money, number, percent

LEAST_WAIT_MS, GROWTH = 10_000, 1.5  # waits below this, or that grew by less, need no look
FULL, BUSY, NEARLY, MOST_TENANTS = 90, 95, 80, 3  # percent of disk, workers, a budget; tenants that are named


def of(figures: ReportFigures, language: str, public_url: str, change_path: str = "/admin/jobs/reports") -> Document:
    """The report in words of "it" or "en". `public_url` is the address of the site, `change_path` the page where one
    changes what one gets ("": no plan sends it). Needs an application context."""
    with force_locale(language):
        return _of(figures, language, public_url, change_path)


def _of(figures: ReportFigures, language: str, public_url: str, change_path: str) -> Document:
    points = [Point(text, absolute(public_url, link), "bad") for text, link in attention(figures)]
    compared = _("Compared with the period before: %(period)s.",
                 period=moments.period(figures, language, before=True))
    running = changes.sentences(note for note in figures.notes if note == "running")
    return Document(
        language, moments.name(figures), moments.period(figures, language), _scope(figures),
        " ".join([*running, compared]),
        _("Figures of %(time)s, %(zone)s.", time=moments.at(figures.made_ms, figures, "d MMMM y, HH:mm"),
          zone=tidy(figures.zone)),
        figures.made_ms, tuple(_facts(figures, public_url)),
        tuple(points) or (Point(_("Nothing needs attention."), "", "good"),),
        tuple(chapters.sections(figures, public_url)), tuple(changes.sentences(
            note for note in figures.notes if note not in ("running", "stranger"))),
        Point(_("Open this period on the site"), absolute(public_url, figures.link)),
        _("You get this report because a plan of this installation sends it to this address.") if change_path else "",
        Point(_("Change or end it"), absolute(public_url, change_path)))


def subject(document: Document) -> str:
    """The subject of its mail, one line."""
    title = f"{document.title}, {document.period}"
    if not document.urgent:
        return title
    with force_locale(document.language):
        return title + ": " + ngettext("%(num)s point needs attention", "%(num)s points need attention",
                                       document.urgent)


def _scope(figures: ReportFigures) -> str:
    limits = figures.filter
    named = [_("type %(name)s", name=tidy(limits.job_type)) if limits.job_type is not None else "",
             _("tenant %(name)s", name=tidy(limits.tenant_id)) if limits.tenant_id is not None else "",
             _("queue %(name)s", name=tidy(limits.queue)) if limits.queue is not None else ""]
    kept = ", ".join(part for part in named if part)
    return _("Only %(parts)s.", parts=kept) if kept else _("All jobs.")


def _facts(f: ReportFigures, public_url: str) -> Iterator[Fact]:
    def fact(label: str, figure: Figure, unit: str, good: int) -> Fact:
        return Fact(label, changes.show(figure.now, unit), changes.show(figure.before, unit),
                    changes.difference(figure.now, figure.before, unit), changes.tone(figure.now, figure.before, good),
                    absolute(public_url, figure.link))

    yield fact(_("Jobs ended"), f.ended, "jobs", 0)
    yield fact(tables.success_rate(), f.success_rate, "percent", 1)
    yield fact(pgettext("many", "Failed"), f.failed, "jobs", -1)
    yield fact(_("Waiting time, p95"), _p95(f.wait), "ms", -1)
    yield fact(_("Run time, p95"), _p95(f.run), "ms", -1)
    for total in f.costs.totals:  # each currency for itself
        yield fact(_("Costs"), Figure(total.nano, total.before, link=total.link), f"nano {tidy(total.currency, 8)}", 0)
    if not f.costs.totals:
        yield fact(_("Attempts lost with their worker"), f.rescued, "jobs", -1)


def _p95(times: Times) -> Figure:
    def of(spread: Spread | None) -> float | None:
        return spread.p95 if spread else None

    return Figure(of(times.now), of(times.before), link=times.link)


def attention(f: ReportFigures) -> Iterator[tuple[str, str]]:
    """What somebody should look at, the most urgent first: (sentence, path)."""
    yield from [(words.sentence("stranger"), "")] if "stranger" in f.notes else []
    still = [alert for alert in f.alerts if alert.closed_ms is None]
    if still:
        yield (ngettext("%(num)s alert of this period is still open.", "%(num)s alerts of this period are still open.",
                        len(still)), f.alerts_opened.link or still[0].link)
    spent = [(sentence, row.link) for row in f.costs.rows if (sentence := _budget(row))]
    yield from spent[:MOST_TENANTS]
    if more := len(spent[MOST_TENANTS:]):
        yield (ngettext("%(num)s more tenant is over or near its budget.",
                        "%(num)s more tenants are over or near their budgets.", more), spent[-1][1])
    if f.new_errors and f.new_error_count:
        worst = f.new_errors[0]
        yield (ngettext("%(num)s new error: %(title)s.", "%(num)s new errors, the most frequent: %(title)s.",
                        f.new_error_count, title=tidy(words.title(worst.title), 80)), worst.link)
    rate, was = f.success_rate.now, f.success_rate.before
    if rate is not None and was is not None and was - rate >= 1:
        yield (_("Success fell from %(before)s to %(now)s.", before=percent(was), now=percent(rate)), f.failed.link)
    wait, waited = _p95(f.wait).now, _p95(f.wait).before
    if wait is not None and waited is not None and wait >= LEAST_WAIT_MS and wait > waited * GROWTH:
        yield (_("Jobs waited longer: 95 of 100 began within %(now)s, before within %(before)s.", now=duration(wait),
                 before=duration(waited)), f.wait.link)
    if f.rescued.now:
        yield (ngettext("%(n)s attempt was lost with its worker; its job ran again.",
                        "%(n)s attempts were lost with their workers; their jobs ran again.", int(f.rescued.now),
                        n=number(f.rescued.now)), f.rescued.link)
    if f.missed.now:
        yield (ngettext("%(n)s run of a schedule was missed.", "%(n)s runs of schedules were missed.",
                        int(f.missed.now), n=number(f.missed.now)), f.missed.link)
    yield from _machine(f)


def _budget(row: CostRow) -> str:
    spent, tenant = row.percent or 0, tidy(row.tenant_id, 60) or _("(no tenant)")
    if spent >= 100 or row.budget == 0 and row.month > 0:
        share = percent(row.percent) if row.percent is not None else money(row.month, tidy(row.currency, 8))
        return _("Tenant %(name)s is over its budget: %(share)s spent this month.", name=tenant, share=share)
    if spent >= NEARLY:
        return _("Tenant %(name)s has spent %(share)s of its budget.", name=tenant, share=percent(spent))
    return ""


def _machine(f: ReportFigures) -> Iterator[tuple[str, str]]:
    disk, total, busy = f.capacity.disk.now, f.capacity.disk_total, f.capacity.busy.now
    if disk and total and 100 * disk / total >= FULL:
        yield _("The disk was %(share)s full.", share=percent(100 * disk / total)), f.capacity.disk.link
    if busy is not None and busy >= BUSY:
        yield _("The workers were busy for %(share)s of the time.", share=percent(busy)), f.capacity.busy.link
