"""Numbers as people read them: no 0.0 s, no 60.0 s, no 100 % beside a failure; and what is no number is shown as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.support.formatting import FILTERS


@pytest.mark.parametrize("name,value,shown", [
    ("duration", 0, "0 ms"), ("duration", 0.4, "0.4 ms"), ("duration", 3, "3 ms"), ("duration", 49, "49 ms"), ("duration", 99, "99 ms"), ("duration", 100, "0.1 s"), ("duration", 940, "0.9 s"),
    ("duration", 15_000, "15 s"), ("duration", 15_200, "15.2 s"), ("duration", 59_940, "59.9 s"), ("duration", 59_960, "1 min"), ("duration", 59_999, "1 min"), ("duration", 160_000, "2 min 40 s"),
    ("duration", 3_599_600, "1 h"), ("duration", 11_100_000, "3 h 5 min"), ("duration", 187_200_000, "2 d 4 h"), ("duration", None, "–"), ("duration", "abc", "abc"), ("duration", float("nan"), "nan"),
    ("percent", 99.97, "99.9%"), ("percent", 100.0, "100.0%"), ("percent", 99.9999, "99.9%"), ("percent", 64.1, "64.1%"), ("percent", 0, "0.0%"), ("percent", None, "–"),
    ("bytes", 1023, "1023 B"), ("bytes", 1024, "1 KB"), ("bytes", 2**20 - 1, "1 MB"), ("bytes", 2**30 - 1, "1.0 GB"), ("bytes", 184 * 2**20, "184 MB"), ("bytes", b"\xff", "b'\\xff'"),
    ("money", 1_200_000_000, "1.20"), ("money", 0, "0.00"), ("money", 12_000_000, "0.012"), ("money", 1_255_000_000, "1.255"), ("money", 12_255_000_000, "12.255"), ("money", 1_005_000_000, "1.005"), ("money", 12_345_678_912, "12.3457"), ("money", 12_345_650_000, "12.3457"), ("money", 1_234_500_000_000, "1,234.50"), ("money", "x", "x"), ("money", float("inf"), "inf"), ("money", 12_345, "0.000012"), ("money", 1, "0.000000001"), ("money", None, "–"),
    ("number", 1204, "1,204"), ("number", Decimal(1204), "1,204"), ("number", "x" * 99, "x" * 40), ("number", [], "[]"), ("ago", "yesterday", "yesterday"), ("exact", 7, "7"), ("exact", None, ""),
])
def test_a_filter_shows_what_there_is(app, name, value, shown):
    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert FILTERS[name](value) == shown


def test_a_time_of_any_year_is_shown(app):
    from app.support.clock import when

    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        for ms in (-(2**63), 2**63 - 1, 1e300, float("inf"), float("nan"), "abc", b"", None):
            assert when(ms) is None and FILTERS["ago"](when(ms)) == "–"
        assert FILTERS["exact"](datetime(9999, 12, 26, tzinfo=UTC)).startswith("9999-12-26")
