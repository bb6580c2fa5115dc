"""The filter of the list of jobs, as addresses, forms and saved views give it. Its SQL stands in filter_sql.py.

fields of an address -> `JobFilter.read` (each part checked; FilterError names the wrong one) -> JobFilter -> `query`,
the same fields again, in their canonical form
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.extensions import db
from app.models import FINAL, LIVE_STATES, JobBatch
from app.models.job import BY_BATCH, BY_BUDGET, BY_LIMIT, BY_OVERLAP, BY_PERSON, BY_RATE, BY_TYPE
from app.services.jobs.search_text import words
from app.support import privacy
from app.support.clock import FIRST_MS, LAST_MS, midnight, millis
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text, parse_id, parse_queue, parse_tenant

GROUPS = {"live": LIVE_STATES, "ended": FINAL, "unsuccessful": ("failed", "timeout"), "bin": ("failed", "timeout"),
          "undecided": ("failed", "timeout"), "counted": ("completed", "failed", "timeout")}  # outcomes of figures
BINNED = {"bin": "IS NOT NULL", "undecided": "IS NULL"}  # groups of failed jobs by whether they are in the bin
OLD_NAMES = {"unhappy": "unsuccessful"}  # in bookmarks of older versions
HOLDS = {"limit": (BY_LIMIT, BY_RATE)} | {  # what holds a job, with its hold codes
    code: (code,) for code in (BY_PERSON, BY_TYPE, BY_BUDGET, BY_BATCH, BY_OVERLAP)}
SORTS = ("run", "wait", "memory")  # by these columns, "-" before it: the largest first; "when": the oldest first
DIGITS = re.compile(r"[0-9a-f-]{8,36}")
NAMES = ("state", "queue", "type", "tenant", "batch", "since", "until", "q", "hold", "error", "worker", "attempt",
         "longer", "shorter", "waited", "heavier", "code", "rescued", "failed", "outcome", "clock", "action",
         "deploy", "sort")
ARGS = "args."  # begins the name of a part that compares one argument
_AMOUNT = re.compile(r"(\d{1,9}(?:[.,]\d{1,3})?)\s*([a-z]{0,3})")
_TIMES = {"ms": 1, "": 1000, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {"b": 1, "kb": 2**10, "": 2**20, "mb": 2**20, "gb": 2**30}
_ATTEMPTS = re.compile(r"(\d{1,6})(?:(-)(\d{1,6})?)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)\s*[-–]\s*(\d{1,2}):(\d\d)")
_LONGEST = {"q": 200, "type": 255, "worker": 255, "code": 64, "error": 64}
MOST_ARGS = 10


class FilterError(ValidationError):
    """A part of the filter that cannot be read; `name` is that of the part."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


@dataclass(frozen=True)
class JobFilter:
    """The parts of the filter, each '' when not set.

    `since` (included) and `until` are days (2026-11-23; `until` included) or times (2026-11-23T14:00; `until` not
    included) of `zone`: of creation for live jobs, of finishing for others; so is `clock`, a time of day (22:00-06:00).
    `batch` is an id or its first digits (the whole id if another program has begun it); `hold` (of HOLDS) is what holds
    a job. `longer` and `waited` are at least a time (10s), `shorter` is less than it, `waited` may be from one time to
    below another (10s-20s), `heavier` at least a size (100MB); `attempt` is a number of attempts: 2, 2- or 2-4; `error`
    a key of error_groups, `code` a version or its beginning; `rescued` is 1, or two times (a..b) between which an
    attempt was lost, `failed` such between which it failed, `outcome` completed or failed, whatever became of it: then
    worker, times, memory and code are those of that attempt; a lost one has no memory. `action` is an id of the log of
    actions, `deploy` of deploys; `args` has names and values of arguments.
    """

    state: str = ""
    queue: str = ""
    type: str = ""
    tenant: str = ""
    batch: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    hold: str = ""
    error: str = ""
    worker: str = ""
    attempt: str = ""
    longer: str = ""
    shorter: str = ""
    waited: str = ""
    heavier: str = ""
    code: str = ""
    rescued: str = ""
    failed: str = ""
    outcome: str = ""
    clock: str = ""
    action: str = ""
    deploy: str = ""
    sort: str = ""
    args: tuple[tuple[str, str], ...] = ()
    zone: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, given: Any, zone: Any) -> JobFilter:
        """The filter from the fields of an address or a form. Raises FilterError, a ValidationError."""
        found = {name: _one(given, name) for name in NAMES}
        found["q"] = found["q"] or str(given.get("q", ""))[:1]  # blanks alone find nothing; an empty field finds all
        names = [name for name in given if isinstance(name, str) and name.startswith(ARGS)]
        if len(names) > MOST_ARGS:
            raise FilterError("args", _("A filter has at most %(n)s arguments.", n=MOST_ARGS))
        args = {check_text(name.removeprefix(ARGS)): _one(given, name) for name in names}
        if (found["q"] or names) and privacy.hidden(search=True):
            raise FilterError("q" if found["q"] else "args", privacy.no_search())
        for name, check in _CHECKS.items():
            try:
                found[name] = found[name] and check(found[name])
            except FilterError:
                raise
            except ValidationError as error:
                raise FilterError(name, str(error)) from None
        made = cls(**found, args=tuple(sorted((name, text) for name, text in args.items() if text)), zone=zone)
        made._check_order()
        return made

    def _check_order(self) -> None:
        """Raises FilterError for a time from a later to an earlier one, in which there is nothing."""
        times = {name: self.between(name) for name in ("rescued", "failed", "outcome")}
        if self.since and self.until:
            times["until"] = self.moment("since"), self.moment("until")
        if (below := self.waited_below()) is not None:
            times["waited"] = self.amount("waited"), below
        for name, pair in times.items():
            if pair and pair[0] >= pair[1] and pair[0] < LAST_MS:
                raise FilterError(name, _("The end is before the beginning."))

    @property
    def meaningless(self) -> bool:
        """Whether a search was asked for of which nothing is left: blanks, only accents."""
        return bool(self.q) and not words(self.q)

    @property
    def query(self) -> dict[str, str]:
        """The parts that are set, as an address has them."""
        parts = {name: getattr(self, name) for name in NAMES if getattr(self, name)}
        return parts | {f"{ARGS}{name}": text for name, text in self.args}

    def states(self, of: tuple[str, ...]) -> list[str]:
        """The states among `of` that the filter admits, in their order."""
        wanted = GROUPS.get(self.state, (self.state,)) if self.state else of
        return [s for s in of if s in wanted]

    def moment(self, name: str) -> int:
        """The time (ms) from which on (`since`), or before which (`until`), jobs belong to the list."""
        return self._time(getattr(self, name), name == "until")

    def between(self, name: str) -> tuple[int, int] | None:
        """The times (ms) that `rescued`, `failed` or `outcome` names; None when it names none."""
        start, between, end = getattr(self, name).partition("..")
        return (self._time(start), self._time(end, True)) if between else None

    def _time(self, text: str, end: bool = False) -> int:
        if "T" in text:
            at = datetime.fromisoformat(text)
            found = millis(at if at.tzinfo else at.replace(tzinfo=self.zone))
        else:
            found = self.start_of(text, int(end))
        return min(max(found, FIRST_MS), LAST_MS)  # east of UTC the year 1 begins before it

    def start_of(self, day: str, days_later: int = 0) -> int:
        """The start (ms) of the day `days_later` days after `day`, in the zone."""
        first = date.fromisoformat(day)
        return midnight(first + timedelta(days=min(days_later, (date.max - first).days)), self.zone)

    def amount(self, name: str) -> int:
        """The time (ms) or size (bytes) of a part."""
        return _amount(getattr(self, name).partition("-")[0], _SIZES if name == "heavier" else _TIMES) or 0

    def waited_below(self) -> int | None:
        """The time (ms) below which `waited` is; None when it has no end."""
        return _amount(self.waited.partition("-")[2], _TIMES) if "-" in self.waited else None

    def attempts(self) -> tuple[int, int]:
        """The least and the largest number of attempts."""
        least, to, most = _ATTEMPTS.fullmatch(self.attempt).groups()  # type: ignore[union-attr]
        return int(least), int(most or (10**6 if to else least))

    def hours(self) -> tuple[int, int]:
        """The time of day, from (included) and until (not included), in ms since midnight."""
        a, b, c, d = map(int, _CLOCK.fullmatch(self.clock).groups())  # type: ignore[union-attr]
        return (a * 60 + b) * 60_000, (c * 60 + d) * 60_000


def _one(given: Any, name: str) -> str:
    """The value of a part. A part that stands there twice with two values would be obeyed by half."""
    values = given.getlist(name) if hasattr(given, "getlist") else [given.get(name, "")]
    texts = (check_text(str(value)).replace("\r\n", "\n").strip() for value in values)  # line ends that forms send
    found = list(dict.fromkeys(" ".join(text.split()) if name == "q" else text for text in texts if text))
    if len(found) > 1:
        raise FilterError(name, _("%(name)s stands twice in the address: choose one of its values.", name=name[:40]))
    if found and len(found[0]) > _LONGEST.get(name, 300):
        raise FilterError(name, _("The search is longer than 200 characters.") if name == "q" else
                          _("This is longer than %(n)s characters.", n=_LONGEST.get(name, 300)))
    return found[0] if found else ""


def _state(text: str) -> str:
    text = OLD_NAMES.get(text, text)
    if text not in (*GROUPS, *LIVE_STATES, *FINAL):
        raise ValidationError(_("Unknown state %(state)s.", state=repr(text[:40])))
    return text


def _hold(text: str) -> str:
    if text not in HOLDS:
        raise ValidationError(_("Unknown reason to hold a job: %(name)s.", name=repr(text[:40])))
    return text


def _batch(text: str) -> str:
    if DIGITS.fullmatch(text.lower()):
        return text.lower()
    if db.session.get(JobBatch, text[:255]) is None:
        raise ValidationError(_("A batch is named by its id, or by the first eight digits of it."))
    return text


def _moment(text: str) -> str:
    """A day, or a time in its shortest form; one with its own zone (Z) is of that zone, in UTC then."""
    try:
        if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text):
            return date.fromisoformat(text).isoformat()
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC).replace(tzinfo=None) if (aware := at.tzinfo) else at
        shown = at.isoformat(timespec="minutes" if not at.second and not at.microsecond else
                             "milliseconds" if at.microsecond else "seconds")
        return shown + ("Z" if aware else "")
    except (ValueError, OverflowError):
        raise ValidationError(_("A date is written as 2026-11-23, a time as 2026-11-23T14:00.")) from None


def _amount(text: str, units: dict[str, int]) -> int | None:
    found = _AMOUNT.fullmatch(text.lower())
    return round(float(found[1].replace(",", ".")) * units[found[2]]) if found and found[2] in units else None


def _time(text: str) -> str:
    if _amount(text, _TIMES) is None:
        raise ValidationError(_("A time is written as 10s, 5m or 2h."))
    return text.lower().replace(" ", "")


def _times(text: str) -> str:
    least, to, below = text.partition("-")
    return _time(least.strip()) + to + (_time(below.strip()) if to else "")


def _size(text: str) -> str:
    if _amount(text, _SIZES) is None:
        raise ValidationError(_("A size of memory is written as 100MB or 1GB."))
    return text.upper().replace(" ", "")


def _attempt(text: str) -> str:
    if not _ATTEMPTS.fullmatch(text.replace(" ", "")):
        raise ValidationError(_("Attempts are written as 2, as 2- (2 or more) or as 2-4."))
    return text.replace(" ", "")


def _clock(text: str) -> str:
    found = _CLOCK.fullmatch(text)
    a, b, c, d = map(int, found.groups()) if found else (99, 0, 99, 0)
    if a > 23 or b > 59 or c > 24 or d > 59 or (c == 24 and d) or (a, b) == (c, d):
        raise ValidationError(_("A time of day is written as 22:00-06:00, from one time to another."))
    return f"{a:02}:{b:02}-{c:02}:{d:02}"


def _rescued(text: str) -> str:
    if text.lower() in ("1", "yes", "true", "on"):
        return "1"
    if ".." not in text:
        raise ValidationError(_("Write 1 for the jobs that were rescued."))
    return _failed(text)


def _failed(text: str) -> str:
    start, between, end = text.partition("..")
    if not between:
        raise ValidationError(_("Write two times, as 2026-11-23T14:00..2026-11-23T15:00."))
    return f"{_moment(start)}..{_moment(end)}"


def _id(text: str) -> str:
    if (number := parse_id(text)) is None:
        raise ValidationError(_("Write the number of it."))
    return str(number)


def _sort(text: str) -> str:
    if text == "-when":
        return ""  # the order of the list
    if text.removeprefix("-") not in SORTS and text != "when":
        raise ValidationError(_("The list has no order %(name)s.", name=repr(text[:40])))
    return text


_CHECKS: dict[str, Any] = {"state": _state, "hold": _hold, "queue": parse_queue, "tenant": parse_tenant,
    "batch": _batch, "since": _moment, "until": _moment, "attempt": _attempt, "longer": _time, "shorter": _time,
    "waited": _times, "heavier": _size, "rescued": _rescued, "failed": _failed, "outcome": _failed, "clock": _clock,
    "action": _id, "deploy": _id, "sort": _sort}
