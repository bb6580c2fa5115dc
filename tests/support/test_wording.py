"""Times as parts of sentences: "in 5 min" and "9 min ago" stand alone or behind a verb, a clock time behind "since" and
"until"; and nothing is due in the past."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.support import clock, formatting

ROOT = Path(__file__).parents[2]
AFTER = r"(?:since|until|from|before|after|to|by|of|than|on)"
RELATIVE = (
    re.compile(rf'_\("[^"]*\b{AFTER}:? %\((\w+)\)s[^"]*"[^}}]*\b\1=[^,)]*\|(?:ago|due)\b', re.I),
    re.compile(rf'_\("(?:[^"]* )?{AFTER}:?"\) }}}}\s*{{{{ ui\.(?:time|due)\(', re.I),
)


@pytest.mark.parametrize("seconds,ago,due,it", [
    (0, "now", "now", "adesso"), (1, "1 second ago", "now", "1 secondo fa"), (59, "59 seconds ago", "now", "59 secondi fa"), (-1, "now", "now", "adesso"),
    (-2, "in 2.0 s", "in 2.0 s", "tra 2,0 s"), (-300, "in 5 min", "in 5 min", "tra 5 min"), (540, "9 min ago", "now", "9 min fa"),
])
def test_a_time_reads_well_alone_and_what_is_to_come_is_never_in_the_past(app, monkeypatch, seconds, ago, due, it):
    now = 1_764_000_000_000
    monkeypatch.setattr(formatting, "now_ms", lambda: now)
    moment = clock.when(now) - timedelta(seconds=seconds)
    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert (formatting.ago(moment), formatting.due(moment)) == (ago, due)
        assert re.fullmatch(r"\d\d:\d\d", formatting.at(moment)), "behind since and until"
        assert formatting.due(None) == formatting.at(None) == "–"
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        assert formatting.ago(moment) == it


def test_no_template_puts_a_relative_time_behind_since_or_until():
    found = []
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        found += [f"{path.name}: {hit[0][-120:]}" for form in RELATIVE for hit in form.finditer(text)]
    assert not found, "use |at and ui.at (a clock time)"
    bad = '{{ _("on since") }} {{ ui.time(w.at) }}', '{{ _("Body before %(time)s", time=v.at|ago) }}', '{{ _("It ends by:") }} {{ ui.due(x) }}'
    assert all(any(form.search(text) for form in RELATIVE) for text in bad), "the forms find what they are for"
