"""Crontab times in words, in English and Italian; their check; the minutes they mean."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
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
    ("5,35 8-18/2 * * *", "At minutes 5 and 35 of the hours 8, 10, 12, 14, 16, and 18", "Ai minuti 5 e 35 delle ore 8, 10, 12, 14, 16 e 18"), ("5,35 * * * *", "Every hour at minutes 5 and 35", "Ogni ora ai minuti 5 e 35"),
    ("3-59/5 1-7/3 * * *", "Every 5 minutes from minute 3 of the hours 1, 4, and 7", "Ogni 5 minuti dal minuto 3 delle ore 1, 4 e 7"),
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


def numbers(text: str) -> set[int]:
    """"1–5, 9, and 20" as numbers."""
    spans = [list(map(int, found.split("–"))) for found in re.findall(r"\d+(?:–\d+)?", text)]
    return {n for span in spans for n in range(span[0], span[-1] + 1)}


def times_said(words: str) -> set[int]:
    """The minutes of a day that an English sentence names, read as a person reads it."""
    if clocks := re.search(r" at (\d\d:\d\d(?:[, and]+\d\d:\d\d)*)", words):
        return {int(h) * 60 + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", clocks[1])}
    step = {"minute": 1, "hour": 60}
    pace = re.match(r"Every (?:(\d+) )?(minute|hour)s?", words)
    length = int(pace[1] or 1) * step[pace[2]] if pace else 0
    if span := re.search(r"from (\d\d):(\d\d) to (\d\d):(\d\d)", words):
        a, b, c, d = map(int, span.groups())
        return set(range(a * 60 + b, c * 60 + d + 1, length))
    hours = numbers(found[1]) if (found := re.search(r"(?:in|of) the hours ([\d–, and]+)", words)) else set(range(24))
    if at := re.search(r"at minutes? ([\d–, and]+)", words, re.I):
        minutes = numbers(at[1])
    elif "on the hour" in words:
        minutes = {0}
    else:
        first = int(found[1]) if (found := re.search(r"from minute (\d+)", words)) else 0
        minutes = set(range(first, 60, length))
    return {hour * 60 + minute for hour in hours for minute in minutes}


def days_said(words: str, day: datetime) -> bool:
    """Whether an English sentence names the day."""
    first, last = (r"from (\w+day) to (\w+day)", r"on (?:day|days) ([\d–, and]+) of the month")
    week = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    months = re.search(r"(?:, |^)(?:in|from) ((?:" + "|".join(MONTHS) + r")\b.*)", words)
    if months:
        named = [n for n, name in enumerate(MONTHS, 1) if name in months[1]]
        if day.month not in (range(named[0], named[-1] + 1) if f"from {MONTHS[named[0] - 1]}" in words else named):
            return False
    if year := re.search(r"every year on (\d+) (\w+)", words, re.I):
        return day.day == int(year[1]) and day.month == MONTHS.index(year[2]) + 1
    text = words[: months.start()] if months else words
    tests = []
    if span := re.search(first, text, re.I):
        tests.append(week.index(span[1]) <= day.weekday() <= week.index(span[2]))
    elif found := re.search(r"(?:every|only on|^on) ((?:" + "|".join(week) + r")\b.*)", text, re.I):
        tests.append(week[day.weekday()] in found[1])
    if found := re.search(last, text, re.I):
        tests.append(day.day in numbers(found[1]))
    if found := re.search(r"every (\d+) days from day (\d+) to (\d+)", text, re.I):
        tests.append(day.day in range(int(found[2]), int(found[3]) + 1, int(found[1])))
    return all(tests) if "but only" in text else any(tests) or not tests


MONTHS = "January February March April May June July August September October November December".split()


def test_the_words_name_the_runs_that_are_computed(speak):
    """Lists, steps and steps with an offset in every field, against the minutes that moments() computes."""
    chance, said = random.Random(16), 0

    def part(low: int, high: int) -> str:
        a, b, step = *sorted(chance.sample(range(low, high + 1), 2)), chance.randint(1, (high - low) // 2)
        listed = ",".join(map(str, sorted(chance.sample(range(low, high + 1), chance.randint(1, 4)))))
        even = chance.choice([n for n in range(2, high + 1) if not (high + 1 - low) % n] or [2])
        offset = low + chance.randint(0, min(even - 1, high - low))
        return chance.choice(["*", f"*/{step}", listed, f"{a}-{b}", f"{a}-{b}/{step}", f"{offset}-{high}/{even}",
                              ",".join(map(str, range(offset, high + 1, even)))])
    for n in range(600):
        days = [part(1, 28), part(1, 12), part(0, 6)] if n % 2 else ["*", "*", "*"]
        cron = " ".join([part(0, 59), part(0, 23), *days])
        if not (words := speak("en", cron)):
            continue
        said += 1
        start = datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))
        runs, after = {}, int(start.timestamp() * 1000) - 1
        for at in moments(cron, ZoneInfo("UTC"), after):
            when = datetime.fromtimestamp(at / 1000, ZoneInfo("UTC"))
            if (when - start).days >= 60 or len(runs) > 12 or n % 2 == 0 and runs and when.date() not in runs:
                break
            runs.setdefault(when.date(), set()).add(when.hour * 60 + when.minute)
        whole = list(runs.values())[:-1] or list(runs.values())
        assert all(found == times_said(words) for found in whole), (cron, words)
        if n % 2 and len(runs) <= 12:
            named = {day for day in range(60) if days_said(words, start + timedelta(days=day))}
            assert named == {(day - start.date()).days for day in runs}, (cron, words)
    assert said > 300


@pytest.mark.parametrize(("cron", "told"), [
    ("", "five fields"), ("* * * *", "five fields"), ("@daily", "five fields"), ("0 0 0 * * *", "five fields"), ("60 * * * *", "The minute cannot be 60."), ("* 24 * * *", "The hour cannot be 24."),
    ("* * 0 * *", "The day of the month cannot be 0."), ("* * * FOO *", "The month cannot be FOO."), ("* * * * 8", "The day of the week cannot be 8."), ("0 0 31 2 *", "No month of these has such a day"), ("0 0 30-31 2 *", "No month of these"),
    ("0 0 31 4,6 *", "No month of these"), ("0 0 32 2 *", "The day of the month cannot be 32."), ("0 0 x 2 *", "The day of the month cannot be X."),
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
