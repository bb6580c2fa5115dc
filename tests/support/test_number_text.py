"""Numbers as people write them, in each language and for scripts."""

from __future__ import annotations

import pytest

from app.support.number_text import plain_number, typed_number

SAME = {"0,5": "0.5", "0.5": "0.5", "1.234,5": "1234.5", "1,234.5": "1234.5", "1.234.567": "1234567", "1,234,567.80": "1234567.80", "1 234,5": "1234.5", "1\u00a0234": "1234",
        "1'234.50": "1234.50", "12": "12", " 7 ": "7", "-0,25": "-0.25", "0.500": "0.500", "0,125": "0.125", "12,3456": "12.3456", "1234,567": "1234.567",
        "1,2,3": "1,2,3", "1.2.3,4": "1.2.3,4", "12,34.5": "12,34.5", ",5": ",5", "5,": "5,", "x": "x", "": "", "1e5": "1e5", "1,23,456": "1,23,456", "١": "١", "1.234.56": "1.234.56"}


@pytest.mark.parametrize("language,ambiguous", [("it", {"1.234": "1234", "1,234": "1.234"}), ("en", {"1.234": "1.234", "1,234": "1234"}), ("script", {"1.234": "1.234", "1,234": "1.234"})])
def test_one_reading(app, language, ambiguous):
    with app.test_request_context("/", headers={"Accept-Language": language}):
        from flask import g

        g.scripted = language == "script"
        for typed, plain in (SAME | ambiguous).items():
            assert plain_number(typed) == plain, typed
        for value in (0.5, 1.234, 1234.5, 7.0, 0.001):
            assert float(plain_number(typed_number(value))) == value
    assert plain_number("1,234") == "1.234", "on the command line as ever"
