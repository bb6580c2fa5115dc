"""Every number of the figures stands in the PDF, in the mail and in the text, in the form of the language."""

from __future__ import annotations

import html
import re
from dataclasses import fields, is_dataclass, replace
from itertools import count

import pytest
from flask_babel import force_locale

from app.services.reports import html_mail, moments, opening, pdf, plain
from app.services.reports.changes import difference, show, tone
from app.services.reports.document import Table, absolute, tidy
from app.services.reports.model import CostRow, Costs, CostTotal, Figure, Slot, Spread
from tests.services.reports import pdf_reading
from tests.services.reports.made_up import ALL, DAY, EMPTY, NASTY, RICH, SINCE

SITE = "https://jobs.example.org/ops"
UNITS = {"success_rate": "percent", "percent": "percent", "share": "percent", "busy": "percent", "cpu": "percent",
         "oldest_wait": "ms", "busy_ms": "ms", "p50": "ms", "p95": "ms", "p99": "ms", "memory": "bytes", "disk": "bytes",
         "memory_total": "bytes", "disk_total": "bytes", "workers": "mean"}
# Times are shown as dates, `error` as one sentence, and the number of tenants with costs as how many more there are.
ELSEWHERE = {"since", "until", "before_since", "before_until", "made_ms", "month_since", "error", "first_ms", "opened_ms",
             "closed_ms", "costs.tenants", "total"}

# The list of the slowest types shows their run times, that of the failing ones their outcomes.
NOT_SHOWN = re.compile(r"slowest\[\d+\]\.(completed|failed|success_rate|before|failed_before|busy_ms|wait\.\w+)$|failing\[\d+\]\.(wait|run|run_before)\.\w+$")


def numbers(value, path: str = "", unit: str = "jobs"):
    """(path, text of the number) of all numbers of a dataclass, as a report shows them."""
    if is_dataclass(value):
        currency = getattr(value, "currency", "")
        for field in fields(value):
            inner = getattr(value, field.name)
            own = f"nano {currency}" if field.name in ("nano", "month", "budget") or currency and field.name == "before" else UNITS.get(field.name, unit if isinstance(value, Figure) else "jobs")
            where = f"{path}.{field.name}".strip(".")
            if field.name not in ELSEWHERE and where not in ELSEWHERE:
                yield from numbers(inner, where, own)
    elif isinstance(value, tuple):
        for n, inner in enumerate(value[:3] if path.endswith("largest") else value):
            yield from numbers(inner, f"{path}[{n}]", unit)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, show(value, unit)


def told_apart(value, number, unit: str = "jobs"):
    """The same figures with another value for each number, so that none stands in for another. `number` counts."""
    if is_dataclass(value):
        changed = {}
        for field in fields(value):
            own = "nano" if field.name in ("nano", "month", "budget") or hasattr(value, "currency") and field.name == "before" else UNITS.get(field.name, unit if isinstance(value, Figure) else "jobs")
            if field.name not in ELSEWHERE | {"slots_before"}:
                changed[field.name] = told_apart(getattr(value, field.name), number, own)
        return replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(told_apart(inner, number, unit) for inner in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        n = next(number)
        return {"percent": n / 10 + .04, "ms": 1000 * (61 + n), "bytes": (n + 100) * 2**20, "mean": n / 10, "nano": (n + 10) * 10**7}.get(unit, 10_007 + 13 * n)
    return value


def words_of(text: str) -> str:
    return " ".join(text.split())


def drawn(figures, language: str) -> dict[str, str]:
    """The three reports as one line of text each."""
    page = html.unescape(re.sub(r"<[^>]+>", " ", html_mail.render(figures, language, SITE).replace("<wbr>", "")))
    return {"pdf": words_of(pdf_reading.tree(pdf_reading.opened(pdf.render(figures, language, SITE))).said),
            "html": words_of(page), "text": words_of(plain.render(figures, language, SITE))}


@pytest.mark.parametrize("language", ["it", "en"])
@pytest.mark.parametrize("name", ALL)
def test_every_number_is_in_each_form(languages, name, language):
    figures = told_apart(ALL[name], count())
    texts = drawn(figures, language)
    with force_locale(language):
        wanted = list(numbers(figures))
    assert len(wanted) > (600 if name == "rich" else 40) and len(set(wanted)) == len(wanted)
    for form, text in texts.items():
        said = set(re.split(r"[\s();:]+", text.replace(",", ", "))) | set(text.split())
        for path, number in wanted:
            assert NOT_SHOWN.match(path) or number in said or re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", text), f"{path} {number} is not in the {form}"


def test_a_number_of_another_figure_does_not_stand_in_for_it(languages):
    """The search itself: 12 is not found in 112, 12.5, 1,012 or 120."""
    with force_locale("en"):
        assert not re.search(r"(?<![\d.,])12(?![\d]|[.,]\d)", "112 12.5 1,012 120") and re.search(r"(?<![\d.,])12(?![\d]|[.,]\d)", "of 12, 3")


@pytest.mark.parametrize("now,before,unit,said", [
    (104, 100, "jobs", "+4, 4.0% more"), (88, 100, "jobs", "−12, 12% less"), (5, 5, "jobs", "as before"), (5, 0, "jobs", "+5"), (0, 5, "jobs", "−5, 100% less"),
    (None, 5, "jobs", ""), (5, None, "jobs", ""), (1200, 1100, "ms", "+0.1 s, 9.1% longer"), (900, 1100, "ms", "−0.2 s, 18% shorter"), (1_000_000, 10, "jobs", "+999,990"),
    (98.69, 98.31, "percent", "+0.4 points, higher"), (98.0, 99.05, "percent", "−1.1 points, lower"), (98.66, 98.69, "percent", "as before"), (99.97, 100.0, "percent", "−0.1 points, lower"),
    (1_500_000_000, 1_000_000_000, "nano EUR", "+0.50 EUR, 50% more"), (2**31, 2**30, "bytes", "+1.0 GB, 100% more"),
])
def test_a_difference_has_a_sign_and_a_word(languages, now, before, unit, said):
    with force_locale("en"):
        assert difference(now, before, unit) == said


def test_a_tone_needs_more_than_a_hundredth():
    assert [tone(*values, -1) for values in ((100, 100), (101, 100), (102, 100), (90, 100), (5, None))] == ["", "", "bad", "good", ""]
    assert tone(5, 0, 1) == "good" and tone(5, 0, 0) == ""


def test_names_are_one_harmless_line():
    assert tidy("a\r\nBcc: x\t \u202eb\x00\ud800") == "a Bcc: x \\u202eb\\u0000\\ud800"
    assert len(tidy("x" * 10_000)) == 100 and tidy("x" * 10_000).endswith("…")
    assert tidy("e\u0301") == "é"
    assert tidy("شركة") == "\u2068شركة\u2069" and tidy("\u2069x") == "\\u2069x"


def test_links_are_whole_addresses_of_the_site():
    assert absolute("https://a.b/ops/", "/admin/x?q=ä b&c=%2F") == "https://a.b/ops/admin/x?q=%C3%A4%20b&c=%2F"
    assert absolute("javascript:alert(1)", "/x") == absolute("https://a.b", "") == absolute("https://a.b", "//evil") [:0] == ""


def of(languages, figures, language="en"):
    return opening.of(figures, language, SITE)


def test_what_needs_attention_comes_first_and_most_urgent(languages):
    said = [point.text for point in of(languages, RICH).attention]
    assert said[0] == "1 alert of this period is still open." and said[4] == "4 more tenants are over or near their budgets."
    assert said[5].startswith("5 new errors, the most frequent: ConnectionError") and said[-1] == "2 runs of schedules were missed."
    assert all(point.tone == "bad" for point in of(languages, RICH).attention)


def test_a_quiet_week_says_so(languages):
    document = of(languages, EMPTY)
    assert [point.text for point in document.attention] == ["Nothing needs attention."] and not document.urgent
    assert opening.subject(document) == "Weekly report, 19 to 25 October 2026"
    assert opening.subject(of(languages, RICH)) == "Weekly report, 19 to 25 October 2026: 9 points need attention"


@pytest.mark.parametrize("change,said", [
    ({"success_rate": Figure(95.0, 97.0)}, "Success fell from 97.0% to 95.0%."), ({"success_rate": Figure(96.1, 97.0)}, None), ({"success_rate": Figure(95.0, None)}, None),
    ({"rescued": Figure(1, 0)}, "1 attempt was lost with its worker; its job ran again."),
    ({"capacity": replace(EMPTY.capacity, disk=Figure(95, 1), disk_total=100)}, "The disk was 95.0% full."), ({"capacity": replace(EMPTY.capacity, disk=Figure(89, 1), disk_total=100)}, None),
    ({"capacity": replace(EMPTY.capacity, busy=Figure(96.5, 1))}, "The workers were busy for 96.5% of the time."),
])
def test_each_thing_that_needs_attention(languages, change, said):
    texts = [point.text for point in of(languages, replace(EMPTY, **change)).attention]
    assert texts == [said or "Nothing needs attention."]


def test_waits_need_attention_when_they_are_long_and_grew(languages):
    def waits(now, before):
        return replace(EMPTY, wait=replace(EMPTY.wait, now=Spread(1, now, now, 9, .02), before=Spread(1, before, before, 9, .02), why="", why_before=""))

    assert of(languages, waits(40_000, 10_000)).urgent == 1
    assert of(languages, waits(9_000, 10)).urgent == of(languages, waits(40_000, 30_000)).urgent == 0


def test_a_year_is_told_by_weeks(languages):
    days = tuple(Slot(EMPTY.since + n * DAY, EMPTY.since + (n + 1) * DAY, 10, 1, 0, 0, "/x") for n in range(365))
    text = plain.render(replace(EMPTY, period="", slots=days, slots_before=days), "en", SITE)
    assert "Jobs by week" in text and text.count(" 70 (70)") == 52 and " 10 (10)" in text


def test_unknown_figures_say_why_once(languages):
    text = plain.render(ALL["filtered"], "en", SITE)
    assert "Only type WordPressSync, tenant Importazione" in words_of(text) and NASTY not in text
    section = text[text.index("Costs\n"):text.index("Capacity\n")]
    assert "This is not counted by queue." in section and "No costs." not in section


def test_the_key_numbers_name_the_costs_of_each_currency_to_the_last_half_cent(languages):
    """Parts of half cents and their sum agree; also where floats would round 1.255 down and 12.255 up."""
    rows = tuple(CostRow(tenant, currency, nano, 0, 1, 0, nano, None, None, False) for tenant, currency, nano in (
        ("a", "USD", 9 * 10**9), ("b", "USD", 2 * 10**9), ("acme", "USD", 1_255_000_000), ("a", "EUR", 3_330_000_000)))
    totals = (CostTotal("USD", 12_255_000_000, 0, 3, 0, 12_255_000_000), CostTotal("EUR", 3_330_000_000, 0, 1, 0, 3_330_000_000))
    found = replace(RICH, costs=Costs(rows, totals, 3, SINCE))
    document = opening.of(found, "en", "https://jobs.example.org")
    assert [fact.value for fact in document.facts if fact.label == "Costs"] == ["12.255 USD", "3.33 EUR"]
    (section,) = (one for one in document.sections if one.key == "costs")
    shown = [[row[1].text for row in block.rows] for block in section.blocks if isinstance(block, Table)]
    assert shown == [["12.255 USD", "3.33 EUR"], ["9.00 USD", "2.00 USD", "1.255 USD", "3.33 EUR"]]
    for text in (plain.render(found, "it", ""), html_mail.render(found, "it", "", "")):
        assert "12,255" in text and "1,255" in text and "3,33" in text
    assert pdf.render(found, "it", "").startswith(b"%PDF")


def test_an_italian_report_has_no_words_of_clocks_and_none_in_english(languages):
    text = " ".join(plain.render(RICH, "it", "").split())
    assert "Tasso di successo" in text and "Success rate" not in text and "Tempo" in text and "Orario" not in text
    assert "Success rate" in plain.render(RICH, "en", "")


def test_an_hour_that_the_clocks_show_twice_is_told_apart(languages):
    hours = [Slot(since, since + 3_600_000, 1, 0, 0, 0) for since in range(1_792_879_200_000, 1_792_879_200_000 + 4 * 3_600_000, 3_600_000)]  # 2026-10-25 from 00:00 in Rome
    with force_locale("en"):
        assert [moments.slot(one, replace(RICH, zone="Europe/Rome")) for one in hours] == ["Sun 25, 00:00", "Sun 25, 01:00", "Sun 25, 02:00 +0200", "Sun 25, 02:00 +0100"]
