"""How long, or until when, as people type it in English or Italian: what each text means, and what is refused."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app.support.clock import millis
from app.support.moments import clock_text, parse_moment
from app.support.validation import ValidationError

ROME = ZoneInfo("Europe/Rome")
NOW = millis(datetime(2026, 11, 26, 15, 0, tzinfo=ROME))
MEANS = {
    "30": "2026-11-26 15:30", " 30 ": "2026-11-26 15:30", "30m": "2026-11-26 15:30", "30 min": "2026-11-26 15:30", "2h": "2026-11-26 17:00", "1d 6h": "2026-11-27 21:00",
    "1g 6h": "2026-11-27 21:00", "1h30": "2026-11-26 16:30", "1h 30": "2026-11-26 16:30", "1,5h": "2026-11-26 16:30", "1.5 ore": "2026-11-26 16:30",
    "2 ore e 15 minuti": "2026-11-26 17:15", "2 hours and 15 minutes": "2026-11-26 17:15", "1w": "2026-12-03 15:00", "for 2h": "2026-11-26 17:00", "tra 20 minuti": "2026-11-26 15:20",
    "until 18:00": "2026-11-26 18:00", "Until 18:00": "2026-11-26 18:00", "fino alle 18:00": "2026-11-26 18:00", "fino alle 18": "2026-11-26 18:00", "until 6pm": "2026-11-26 18:00",
    "until 6 pm": "2026-11-26 18:00", "18:00": "2026-11-26 18:00", "18.30": "2026-11-26 18:30", "24:00": "2026-11-27 00:00", "until tomorrow 8": "2026-11-27 08:00",
    "fino a domani alle 8:00": "2026-11-27 08:00", "domani": "2026-11-27 00:00", "until 2026-12-01 08:00": "2026-12-01 08:00", "2026-12-01T08:00": "2026-12-01 08:00",
    "fino all’1/12/2026 08:00": "2026-12-01 08:00", "fino al 01.12.2026": "2026-12-01 00:00", "366d": "2027-11-27 15:00",
}
OVER = ("until 08:00", "fino alle 15:00", "2020-01-01 08:00", "until 2026-11-26", "oggi")
NONSENSE = ("soon", "-5", "0", "0h", "1.5", "1e9", "6h 1d", "1h 2h", "30 30", "1d 6", "until", "fino alle", "until 25:00", "until 18:60", "until 13pm", "until 2026-02-30", "18,30", "1 2 3",
            "until 18:00 19:00", "tomorrow today", "٣", "367d", "9999999d", "until 2030-01-01", "x" * 400, "1h" * 200, "until 18:00\x00")


@pytest.mark.parametrize("text", MEANS)
def test_what_people_type_means_one_time(text):
    assert clock_text(parse_moment(text, NOW, ROME), ROME) == MEANS[text]


def test_nothing_is_no_time():
    assert parse_moment("", NOW, ROME) is parse_moment("  ", NOW, ROME) is None


@pytest.mark.parametrize("text", OVER)
def test_a_time_that_is_over_is_named(text):
    with pytest.raises(ValidationError, match=r"20\d\d-\d\d-\d\d \d\d:\d\d is over\. Write a time that lies ahead"):
        parse_moment(text, NOW, ROME)


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_with_a_sentence(text):
    with pytest.raises(ValidationError, match=r"^(Write how long|It lasts no time|There is no such day|That is more than 366)"):
        parse_moment(text, NOW, ROME)


def test_around_the_change_of_the_clocks():
    spring, autumn = (millis(datetime(*day, 0, 30, tzinfo=ROME)) for day in ((2026, 3, 29), (2026, 10, 25)))
    assert clock_text(parse_moment("until 02:30", spring, ROME), ROME) == "2026-03-29 03:30", "that hour is left out"
    first = parse_moment("until 02:30", autumn, ROME)
    assert first - autumn == 2 * 3_600_000 and parse_moment("until 02:30", first, ROME) - first == 3_600_000, "then the second of the two"
    assert parse_moment("1d", autumn, ROME) - autumn == 86_400_000, "a length is a length"
