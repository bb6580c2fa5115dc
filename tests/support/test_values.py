"""Values that jobs give: what is a number is taken, all else is refused where it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from app.support.clock import DAY_MS, day_of, iso, midnight, millis, month_start
from app.support.json_values import as_json
from app.support.validation import parse_id
from app.support.values import billionths, delay_s, plain_details, whole


@pytest.mark.parametrize(("given", "nano"), [
    (12.5, 12_500_000_000), ("12.5", 12_500_000_000), (" 3 ", 3_000_000_000), (Decimal("0.000000001"), 1), (Fraction(1, 4), 250_000_000),
    (0, 0), (0.1, 100_000_000), ("1e-9", 1), ("1E2", 100_000_000_000), (10**9, 10**18),
])
def test_what_is_a_number_is_taken_exactly(given, nano):
    with localcontext() as context:
        context.prec = 2  # a job's own
        assert billionths("amount", given, 10**9) == nano


@pytest.mark.parametrize(("given", "kind"), [
    (1e30, ValueError), (Decimal("1e30"), ValueError), (10**400, ValueError), ("1e999999999", ValueError), (float("nan"), ValueError),
    ("nan", ValueError), (Decimal("Infinity"), ValueError), (float("-inf"), ValueError), (-0.01, ValueError), ("twelve", ValueError),
    ("", ValueError), ("12,5", ValueError), ("9" * 5000, ValueError), (True, TypeError), (b"1", TypeError), ([1], TypeError), (1j, TypeError),
    (object(), TypeError),
])
def test_what_is_none_is_refused_with_its_name(given, kind):
    with pytest.raises(kind, match="^amount "):
        billionths("amount", given, 10**9)


def test_delays_and_whole_numbers():
    assert delay_s("delay", "60") == 60.0 and delay_s("delay", -5) == 0.0 and delay_s("delay", Decimal("0.5")) == 0.5
    for bad in (1e18, float("inf"), "soon", None, 366 * 86_400 + 1):
        with pytest.raises((TypeError, ValueError)):
            delay_s("delay", bad)
    assert whole("done", 3.9) == 3 and whole("done", "12") == 12 and whole("done", 2**63 - 1) == 2**63 - 1
    for bad in (2**63, -1, float("nan"), "half", None):
        with pytest.raises((TypeError, ValueError)):
            whole("done", bad)


def test_details_of_a_cost_are_plain():
    assert plain_details({"model": "m" * 300, "n": 3, "share": 0.5, "half": "\ud800", "none": None}) == {
        "model": "m" * 200, "n": 3, "share": 0.5, "half": "?", "none": None}
    for bad in ({"model": object()}, {"n": 10**30}, {"x": float("nan")}, {str(n): 1 for n in range(21)}):
        with pytest.raises((TypeError, ValueError)):
            plain_details(bad)


@pytest.mark.parametrize("text,number", [("0", 0), (" 17 ", 17), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("", None), (None, None), ("-1", None), ("٣", None), ("1e3", None)])
def test_the_number_of_a_row_has_at_most_18_digits(text, number):
    assert parse_id(text) == number


def test_a_day_begins_when_its_zone_says_so():
    rome = ZoneInfo("Europe/Rome")
    assert iso(midnight(date(2026, 3, 29), rome)) == "2026-03-28T23:00:00.000Z" and iso(midnight(date(2026, 3, 30), rome)) == "2026-03-29T22:00:00.000Z"
    late = millis(datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    assert day_of(late, rome) == date(2026, 11, 1) and iso(month_start(late + 9 * DAY_MS, rome)) == "2026-10-31T23:00:00.000Z"


def test_a_view_is_its_fields_in_json_and_a_time_is_text_in_utc():
    @dataclass(frozen=True)
    class Inner:
        at: datetime

    @dataclass(frozen=True)
    class Outer:
        n: int
        inner: list[Inner]

    value = Outer(1, [Inner(datetime(2026, 11, 26, 9, 0, tzinfo=ZoneInfo("Europe/Rome")))])
    assert json.dumps(value, default=as_json) == '{"n": 1, "inner": [{"at": "2026-11-26T08:00:00.000Z"}]}'
    with pytest.raises(TypeError):
        json.dumps(object(), default=as_json)
