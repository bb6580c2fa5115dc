"""Crontab times in words, in English and Italian; their check; the minutes they mean."""

from __future__ import annotations

import random
import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from flask import Flask
from flask_babel import Babel

from app.config import ROOT
from app.support.crontab import check_cron, in_words, moments
from app.support.validation import ValidationError

WORDS = [
    ("* * * * *", "Every minute", "Ogni minuto"), ("*/5 * * * *", "Every 5 minutes", "Ogni 5 minuti"), ("0-59/5 * * * *", "Every 5 minutes", "Ogni 5 minuti"),
    ("0,15,30,45 * * * *", "Every 15 minutes", "Ogni 15 minuti"), ("1-59/2 * * * *", "Every 2 minutes from minute 1 of each hour", "Ogni 2 minuti dal minuto 1 di ogni ora"),
    ("0 * * * *", "Every hour, on the hour", "Ogni ora, allo scoccare dell'ora"), ("15 * * * *", "Every hour at minute 15", "Ogni ora al minuto 15"),
    ("*/40 * * * *", "Every hour at minutes 0 and 40", "Ogni ora ai minuti 0 e 40"), ("0-10 * * * *", "Every hour at minutes 0–10", "Ogni ora ai minuti 0–10"),
    ("0 3 * * *", "Every day at 03:00", "Ogni giorno alle 03:00"), ("30 2 * * 1-5", "From Monday to Friday at 02:30", "Da lunedì a venerdì alle 02:30"),
    ("30 2 * * mon,wed,FRI", "Every Monday, Wednesday, and Friday at 02:30", "Ogni lunedì, mercoledì e venerdì alle 02:30"), ("0 8 * * 0,6", "Every Saturday and Sunday at 08:00", "Ogni sabato e domenica alle 08:00"),
    ("0 8 * * 6-7", "Every Saturday and Sunday at 08:00", "Ogni sabato e domenica alle 08:00"), ("0 8 * * 0-6", "Every day at 08:00", "Ogni giorno alle 08:00"),
    ("0 9-17 * * MON-FRI", "Every hour from 09:00 to 17:00, from Monday to Friday", "Ogni ora dalle 09:00 alle 17:00, da lunedì a venerdì"),
    ("*/15 9-17 * * *", "Every 15 minutes from 09:00 to 17:45", "Ogni 15 minuti dalle 09:00 alle 17:45"), ("* 9 * * *", "Every minute from 09:00 to 09:59", "Ogni minuto dalle 09:00 alle 09:59"),
    ("0 */6 * * *", "Every day at 00:00, 06:00, 12:00, and 18:00", "Ogni giorno alle 00:00, 06:00, 12:00 e 18:00"), ("15 */2 * * *", "Every 2 hours from 00:15 to 22:15", "Ogni 2 ore dalle 00:15 alle 22:15"),
    ("*/5 22,23,0 * * *", "Every 5 minutes in the hours 0, 22, and 23", "Ogni 5 minuti nelle ore 0, 22 e 23"), ("0 20-23,0-5 * * *", "At minute 0 of the hours 0–5 and 20–23", "Al minuto 0 delle ore 0–5 e 20–23"),
    ("5,20,41 8-18 * * *", "At minutes 5, 20, and 41 of the hours 8–18", "Ai minuti 5, 20 e 41 delle ore 8–18"),
    ("0 0 1 * *", "On day 1 of the month at 00:00", "Il giorno 1 del mese alle 00:00"), ("0 0 1,15 * *", "On days 1 and 15 of the month at 00:00", "Nei giorni 1 e 15 del mese alle 00:00"),
    ("0 0 */2 * *", "Every 2 days from day 1 to 31 of the month at 00:00", "Ogni 2 giorni dal giorno 1 al 31 del mese alle 00:00"), ("0 0 L * *", "On the last day of the month at 00:00", "L'ultimo giorno del mese alle 00:00"),
    ("0 0 LW * *", "On the last day of the month from Monday to Friday at 00:00", "L'ultimo giorno del mese da lunedì a venerdì alle 00:00"),
    ("0 8 * * MON#1", "On the first Monday of the month at 08:00", "Il primo lunedì del mese alle 08:00"), ("0 8 * * 0#3", "On the third Sunday of the month at 08:00", "La terza domenica del mese alle 08:00"),
    ("0 8 * * 5L", "On the last Friday of the month at 08:00", "L'ultimo venerdì del mese alle 08:00"), ("0 8 * * 7L", "On the last Sunday of the month at 08:00", "L'ultima domenica del mese alle 08:00"),
    ("0 0 13 * FRI", "On day 13 of the month and every Friday at 00:00", "Il giorno 13 del mese e ogni venerdì alle 00:00"),
    ("0 0 */2 * MON", "Every 2 days from day 1 to 31 of the month, but only on Monday at 00:00", "Ogni 2 giorni dal giorno 1 al 31 del mese, ma solo di lunedì alle 00:00"),
    ("0 0 1-31 * MON", "Every day at 00:00", "Ogni giorno alle 00:00"), ("0 0 1 1 *", "Every year on 1 January at 00:00", "Ogni anno il 1 gennaio alle 00:00"),
    ("0 0 1 JAN,jul *", "On day 1 of the month at 00:00, in January and July", "Il giorno 1 del mese alle 00:00, in gennaio e luglio"),
    ("*/10 * * 6-8 *", "Every 10 minutes, from June to August", "Ogni 10 minuti, da giugno a agosto"), ("* * * * 1", "Every minute, every Monday", "Ogni minuto, ogni lunedì"),
    ("1,3,4,6,8,11,13,17,19,22,29,33,39,41 * * * *", None, None), ("0 0 0 * * *", None, None), ("61 * * * *", None, None), ("", None, None),
]


@pytest.fixture(scope="module")
def speak():
    """`speak("it", cron)`: the words in a request of this language."""
    app, chosen = Flask(__name__), {}
    Babel(app, locale_selector=lambda: chosen["lang"], default_translation_directories=str(ROOT / "app/translations"))

    def words(lang: str, cron: str) -> str | None:
        chosen["lang"] = lang
        with app.test_request_context():
            return in_words(cron)
    return words


@pytest.mark.parametrize(("cron", "english", "italian"), WORDS)
def test_a_time_in_words_of_both_languages(speak, cron, english, italian):
    assert (speak("en", cron), speak("it", cron)) == (english, italian)
    assert in_words(cron) == english, "the command line speaks English"


def random_cron(chance: random.Random) -> str:
    def part(low: int, high: int, names: tuple[str, ...] = ()) -> str:
        number = lambda: chance.randint(low, high)  # noqa: E731
        one = lambda: chance.choice([str(number()), *names[:1]])  # noqa: E731
        a, b = sorted((number(), number()))
        return chance.choice(["*", "*", f"*/{number() or 1}", one(), f"{a}-{b}", f"{a}-{b}/{chance.randint(1, 9)}", f"{number()},{number()},{number()}", f"{a}/{chance.randint(1, 9)}", *names])
    return " ".join([part(0, 59), part(0, 23), part(1, 28, ("L", "LW")), part(1, 12, ("FEB", "MAR-MAY")), part(0, 7, ("TUE", "3#2", "5L", "MON-WED", "0#1"))])


def test_any_time_has_words_without_english_in_italian_or_none(speak):
    chance, said = random.Random(6), 0
    english = re.compile(r"\b(every|from|to|hours?|minutes?|days?|month|at|the|of|only|Monday|January)\b", re.I)
    for cron in {random_cron(chance) for _ in range(1500)}:
        assert check_cron(cron) == cron
        words = speak("it", cron)
        if words:
            said += 1
            assert not english.search(words) and "%" not in words and words[0].isupper(), (cron, words)
            assert "–" not in re.sub(r"\d–\d", "", words), words
    assert said > 900


def test_times_that_fall_together_have_the_same_words_and_others_differ(speak):
    """Two ways to write one time; and sets of minutes that differ are never told alike."""
    chance, by_words = random.Random(7), {}
    for cron in {random_cron(chance) for _ in range(1500)}:
        sim = CronSim(cron, datetime(2026, 1, 1))
        if words := speak("en", cron):
            days = frozenset(d for d in range(1, 366 * 2) if sim.match_day(datetime.fromordinal(739_000 + d).date()))
            meant = (frozenset(sim.minutes), frozenset(sim.hours), frozenset(sim.months), days)
            assert by_words.setdefault(words, (meant, cron))[0] == meant, (words, cron, by_words[words][1])
    assert len(by_words) > 800


@pytest.mark.parametrize(("cron", "told"), [
    ("", "five fields"), ("* * * *", "five fields"), ("@daily", "five fields"), ("0 0 0 * * *", "five fields"), ("60 * * * *", "The minute cannot be 60."), ("* 24 * * *", "The hour cannot be 24."),
    ("* * 0 * *", "The day of the month cannot be 0."), ("* * * FOO *", "The month cannot be FOO."), ("* * * * 8", "The day of the week cannot be 8."), ("0 0 31 2 *", "The day of the month cannot be 31."),
    ("*/0 * * * *", "*/0"), ("5-1 * * * *", "5-1"), ("*-5 * * * *", "*-5"), ("* * L-2 * *", "L-2"), ("* * * * 5#6", "5#6"), ("* * * * L", "The day of the week cannot be L."), ("²L * * * ²L", "²L"),
    ("\x00 * * * *", "NUL"), ("*\n* * * *", "one line"), ("9" * 90 + " * * * *", "The minute"), ("1," * 200 + "1 * * * *", "five fields"), ("１ * * * *", "The minute cannot be １."),
])
def test_what_is_no_time_is_refused_with_the_field_that_is_wrong(cron, told):
    with pytest.raises(ValidationError, match=re.escape(told)):
        check_cron(cron)


def test_texts_of_any_kind_are_taken_or_refused_and_never_break():
    chance = random.Random(8)
    for _ in range(4000):
        text = " ".join("".join(chance.choices("0123456789*/-,#LWMONFRI?²", k=chance.randint(1, 5))) for _ in range(5))
        try:
            cron = check_cron(text)
        except ValidationError:
            continue
        in_words(cron)
        next(moments(cron, ZoneInfo("Europe/Rome"), 1_764_000_000_000), None)


def test_a_text_that_is_no_time_has_no_moments():
    assert list(moments("x", ZoneInfo("Europe/Rome"), 0)) == [] and list(moments("", None, 0)) == []
