"""Whole periods of a zone across changes of the clocks, ranges, and their names; values of a report as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings as fast, strategies as st

from app.services.jobs.job_filter import FilterError
from app.services.reports import figures, periods, report_csv
from app.services.reports.periods import Window, before, last, parse, title
from app.support.clock import HOUR_MS, midnight, millis
from tests.services.reports.made_up import ALL, EMPTY, RICH

ROME, KOLKATA, LORD_HOWE = ZoneInfo("Europe/Rome"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")


def at(text: str, zone=ROME, fold: int = 0) -> int:
    return millis(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold))


@pytest.mark.parametrize(("period", "now", "since", "until", "hours", "earlier"), [
    ("day", "2026-10-26T07:00", "2026-10-25", "2026-10-26", 25, "2026-10-24"), ("day", "2026-03-30T00:00", "2026-03-29", "2026-03-30", 23, "2026-03-28"),
    ("day", "2026-10-25T02:30", "2026-10-24", "2026-10-25", 24, "2026-10-23"), ("week", "2026-10-26T00:00", "2026-10-19", "2026-10-26", 169, "2026-10-12"),
    ("week", "2026-10-25T23:59:59.999", "2026-10-12", "2026-10-19", 168, "2026-10-05"), ("week", "2026-01-01T12:00", "2025-12-22", "2025-12-29", 168, "2025-12-15"),
    ("week", "2026-04-01T12:00", "2026-03-23", "2026-03-30", 167, "2026-03-16"), ("month", "2026-11-01T00:00", "2026-10-01", "2026-11-01", 745, "2026-09-01"),
    ("month", "2026-10-31T23:59", "2026-09-01", "2026-10-01", 720, "2026-08-01"), ("month", "2026-01-15T12:00", "2025-12-01", "2026-01-01", 744, "2025-11-01"),
    ("month", "2028-03-31T12:00", "2028-02-01", "2028-03-01", 696, "2028-01-01")])
def test_the_last_whole_period_and_the_one_before(period, now, since, until, hours, earlier):
    window = last(period, at(now), ROME)
    assert window == Window(period, at(since), at(until)) and (window.until - window.since) / HOUR_MS == hours
    assert before(window, ROME) == Window(period, at(earlier), at(since))


def test_a_range_is_compared_with_the_same_length_before():
    window = parse("", "2026-10-24T10:00", "2026-10-26T10:00", at("2026-11-01"), ROME)
    assert window == Window("", at("2026-10-24T10:00"), at("2026-10-26T10:00")) and window.until - window.since == 49 * HOUR_MS
    assert before(window, ROME) == Window("", window.since - 49 * HOUR_MS, window.since)


@pytest.mark.parametrize("zone,since,until,earlier", [
    ("America/New_York", (2026, 10, 26), (2026, 11, 2), (2026, 10, 19)), ("Europe/Rome", (2026, 10, 19), (2026, 10, 26), (2026, 10, 12)),
    ("America/New_York", (2026, 11, 1), (2026, 11, 2), (2026, 10, 31)), ("Europe/Rome", (2026, 3, 29), (2026, 3, 30), (2026, 3, 28))])
def test_a_range_of_whole_days_is_compared_with_as_many_whole_days(zone, since, until, earlier):
    start, end, first = (midnight(date(*day), ZoneInfo(zone)) for day in (since, until, earlier))
    assert before(Window("", start, end), ZoneInfo(zone)) == Window("", first, start)


def test_what_an_address_asks_for():
    now = at("2026-11-26T09:20")
    assert parse("", "", "", now, ROME) == last("week", now, ROME) == parse(" week ", "", "", now, ROME)
    assert parse("", "2026-11-01", "2026-11-03", now, ROME) == Window("", at("2026-11-01"), at("2026-11-04"))
    assert parse("", "2026-11-26", "", now, ROME).until == parse("24h", "", "", now, ROME).until == at("2026-11-26T10:00")
    assert parse("", "2026-11-03T14:59", "2026-11-03T15:01", now, ROME) == Window("", at("2026-11-03T14:00"), at("2026-11-03T16:00"))
    for wrong, name in ((("year", "", ""), "period"), (("1h", "", ""), "period"), (("week", "2026-11-01", ""), "period"), (("", "x", ""), "from"), (("", "", "2026-13-01"), "until"),
                        (("", "2026-11-05", "2026-11-01"), "from"), (("", "2027-01-01", ""), "from"), (("", "2020-01-01", "2020-01-02"), "from")):
        with pytest.raises(FilterError) as found:
            parse(*wrong, now, ROME)
        assert found.value.name == name and str(found.value).endswith("."), wrong


@pytest.mark.parametrize(("period", "since", "until", "english", "italian"), [
    ("week", "2026-11-23", "2026-11-30", "23 to 29 November 2026", "settimana dal 23 al 29 novembre 2026"),
    ("week", "2026-10-26", "2026-11-02", "26 October to 1 November 2026", "settimana dal 26 ottobre al 1º novembre 2026"),
    ("week", "2025-12-29", "2026-01-05", "29 December 2025 to 4 January 2026", "settimana dal 29 dicembre 2025 al 4 gennaio 2026"),
    ("", "2026-11-08", "2026-11-12", "8 to 11 November 2026", "dall’8 all’11 novembre 2026"), ("", "2026-11-01", "2026-11-11", "1 to 10 November 2026", "dal 1º al 10 novembre 2026"),
    ("month", "2026-10-01", "2026-11-01", "October 2026", "ottobre 2026"), ("day", "2026-10-25", "2026-10-26", "Sunday 25 October 2026", "domenica 25 ottobre 2026"),
    ("", "2026-10-25", "2026-10-26", "Sunday 25 October 2026", "domenica 25 ottobre 2026"),
    ("24h", "2026-11-25T10:00", "2026-11-26T10:00", "25 November 2026, 10:00 to 26 November 2026, 10:00", "dal 25 novembre 2026, 10:00 al 26 novembre 2026, 10:00"),
    ("", "2026-10-25T02:00", "2026-10-25T05:00", "25 October 2026, 02:00 +0200 to 25 October 2026, 05:00", "dal 25 ottobre 2026, 02:00 +0200 al 25 ottobre 2026, 05:00")])
def test_names_in_words(period, since, until, english, italian):
    window = Window(period, at(since), at(until))
    assert (title(window, ROME, "en"), title(window, ROME, "it")) == (english, italian)


@fast(max_examples=150, deadline=None)
@given(st.integers(at("2020-01-01"), at("2035-01-01")), st.sampled_from(periods.PERIODS), st.sampled_from([ROME, KOLKATA, LORD_HOWE]))
def test_periods_follow_each_other_without_a_gap(now, period, zone):
    window = last(period, now, zone)
    earlier = before(window, zone)
    assert earlier.until == window.since < window.until <= now < last(period, now + 32 * 24 * HOUR_MS, zone).until
    assert last(period, window.until, zone) == window and last(period, window.since, zone) == earlier


@pytest.mark.parametrize("name", ALL)
def test_json_gives_the_same_report_back(name):
    assert figures.from_json(figures.to_json(ALL[name])) == ALL[name]


@pytest.mark.parametrize("change", [
    lambda d: d.pop("zone"), lambda d: d.update(since="1"), lambda d: d.update(since=1.5), lambda d: d.update(since=True), lambda d: d.update(slots={}), lambda d: d.update(wait=[]),
    lambda d: d["run"]["now"].update(p95="x"), lambda d: d["run"]["now"].update(p95=1e400), lambda d: d["types"][0].update(name=None), lambda d: d["types"].append(None),
    lambda d: d["costs"].update(rows=[[]]), lambda d: d["frequent_errors"][0].update(largest=[["a"]]), lambda d: d.update(since=10**40), lambda d: d["capacity"]["peaks"][0].pop("share")])
def test_damaged_json_is_a_value_error(change):
    broken = json.loads(figures.to_json(RICH))
    change(broken)
    with pytest.raises(ValueError):
        figures.from_json(json.dumps(broken))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "x", "[" * 100_000, '{"a":' * 50_000, figures.to_json(EMPTY)[:-1], "NaN", '"' + "a" * 10 + '"'])
def test_what_is_no_json_of_a_report_is_a_value_error(text):
    with pytest.raises(ValueError):
        figures.from_json(text)


def test_a_report_of_an_older_version_lacks_fields_that_have_a_default():
    older = json.loads(figures.to_json(RICH))
    del older["slowest_why"], older["alerts"]
    assert figures.from_json(json.dumps(older)).alerts == ()


@pytest.mark.parametrize("name", ALL)
def test_the_csvs_of_a_report_have_its_numbers_and_run_nothing(name):
    report, found = ALL[name], report_csv.files(ALL[name])
    tables = {file: list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";")) for file, text in found.items()}
    assert list(tables) == ["summary.csv", "days.csv", "types.csv", "errors.csv", "costs.csv"]
    summary = {row["figure"]: row for row in tables["summary.csv"]}
    assert summary["completed"]["period"] == ("" if report.completed.now is None else str(report.completed.now)) and summary["since"]["period"] == "2026-10-19T00:00+02:00"
    others = [name for name in ("types.csv", "errors.csv") if tables[name] and tables[name][-1].get("type" if name == "types.csv" else "error") == "(others)"]
    assert others == (["types.csv"] if report.type_count > len(report.types) else []), "of made-up figures the errors are more than the failures"
    for name_of in ("types.csv", "costs.csv"):
        tables[name_of] = [row for row in tables[name_of] if "(others)" not in row.values()]
    assert len(tables["types.csv"]) == len(report.types) and len(tables["errors.csv"]) == len({e.key for e in report.frequent_errors}) and len(tables["costs.csv"]) == len(report.costs.rows)
    assert [row["time"] for row in tables["days.csv"]][-1:] == ["2026-10-25"] and not any(None in row or None in row.values() for rows in tables.values() for row in rows)
    for text in found.values():
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(io.StringIO(text), delimiter=";") for cell in row)
    if name == "rich":
        assert summary["ended"]["change"] == "-200345", "a number that is negative stays a number"
        assert (summary["run_p95"]["period"], summary["run_p95"]["before"], summary["run_p95"]["why_before"]) == ("9800,0", "", "usage") and summary["rescued"]["why_before"] == "kept"
        assert (summary["success_rate"]["period"], summary["success_rate"]["change"]) == ("98,8", "0,5"), "rates have the nearest decimal, and the change is that of what is shown"
        assert tables["costs.csv"][0]["cost"] == "1,234567890"
