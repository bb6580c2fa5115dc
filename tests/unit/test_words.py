"""Stored sentences told again in Italian."""

from __future__ import annotations

import pytest

from app import words


@pytest.mark.parametrize("stored", [
    "timeout after 300 s", "Held by ada@example.org.", "unheard for 130 s", "recycled: 140 MB over its start, limit 128 MB",
    "Stopped after killing its worker 3 times. Last: host_12: the process is gone",
    "No job type Process.News-X is known here. Deploy the code that declares it, or delete the job.",
    "The file has no column body. Its first line must name the columns reference, title and body, separated by comma, semicolon or tab; it has: a, b.",
])
def test_what_was_stored_is_told_in_the_readers_language(app, stored):
    assert words.retell(stored) == stored  # the command line reads what was written
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        told = words.retell(stored)
    assert told != stored and "%(" not in told
    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert words.retell(stored) == stored


def test_what_nobody_knows_stays_as_it_is(app):
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        assert words.retell("KeyError: 'x'") == "KeyError: 'x'" and words.retell(None) is None
