"""The job types and schedules of the platform, as `@job` and `@recurring` declare them (app/jobs/declare.py).

A definition has a function and its options. Arguments are JSON; `fit` checks them against the signature
(signature.py) and raises `InvalidArguments`, whose text is a sentence for people.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cronsim import CronSim, CronSimError

from app.config import QUEUES
from app.models.job import BY_BUDGET, BY_PERSON
from app.signature import Field, InvalidArguments, UploadedFile, check, read_signature  # noqa: F401  (handed on)
from app.support.messages import text_of, translate as _
from app.support.validation import ValidationError
from app.support.values import MOST_DELAY_S, between

OF_DISPATCH = {"tenant_id", "queue", "delay", "tries", "backoff", "timeout", "created_by", "after", "batch"}
RATE = re.compile(r"([0-9]{1,6})/([0-9]{1,4})?([smhd])")
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MOST_RATE = 10_000
RATES_OF_SETTINGS = ("OPENAI_RPM",)  # rates that a setting gives, as starts a minute
OVERLAPS = ("allow", "skip", "wait")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")


class UserFacingError(Exception):
    """Base of what jobs raise to say something to people: the text is shown without the name of the class."""


class PermanentError(UserFacingError):
    """Raised by a job that can never succeed: it fails at once."""


class TemporaryError(UserFacingError):
    """Raised by a job whose attempt failed: it is tried again by its rules, or after `delay` seconds in place of its
    backoff.

    The attempt counts. TypeError or ValueError when `delay` is no number of seconds from 0 to 366 days.
    """

    def __init__(self, *args: object, delay: float | None = None) -> None:
        super().__init__(*args)
        self.delay = None if delay is None else float(between("The delay of TemporaryError", delay, 0, MOST_DELAY_S))


class HoldJob(UserFacingError):
    """Raised by a job that must wait: its row is held, uncounted, until a person releases it or, with `code` "budget",
    until its tenant's budget allows it. ValueError for another code."""

    def __init__(self, *args: object, code: str = BY_PERSON) -> None:
        if code not in (BY_PERSON, BY_BUDGET):
            raise ValueError(f"HoldJob: code is {BY_PERSON!r} or {BY_BUDGET!r}")
        super().__init__(*args)
        self.code = code


class WaitForJobs(UserFacingError):
    """Raised by `JobContext.wait_for`: the job runs again, uncounted, when the jobs it waits for have completed."""


@dataclass(frozen=True)
class Options:
    """How a type runs. `backoff`, `timeout` and `retry_until` are in seconds. `fair`: tenants take turns in its queue;
    `capture`: its output and logging become lines of its log; `description`: the text of the form, by default the first
    line of the docstring. `concurrency`: so many run at once; `rate`: so many start in a time ("60/m", also s, h, d);
    both are counted `per` "type", "tenant" or "args.NAME"; `rate_per` "type" counts the starts for the whole type.
    `group`: short jobs may be claimed and settled together. `check(args, tenant_id)`: refuses arguments that can never
    work, before the job is written, with a ValueError whose text is a sentence."""

    queue: str = "default"
    tries: int = 3
    backoff: tuple[int, ...] = (60, 300, 1800)
    timeout: int = 300
    critical: bool = False
    durable: bool = False
    web: bool = True
    label: str = ""
    description: str = ""
    fair: bool = False
    capture: bool = True
    retry_until: int = 86_400
    concurrency: int = 0
    per: str = "type"
    rate: str = ""
    rate_per: str = ""
    group: bool = True
    check: Callable[[dict[str, Any], str | None], object] | None = None

    @property
    def limited(self) -> bool:
        """Whether its jobs carry the key of a limit. With `per` alone a person may set the limit."""
        return bool(self.concurrency or self.rate) or self.per != "type"


@dataclass(frozen=True)
class JobDefinition:
    """A known type. Calling it calls the function."""

    name: str
    function: Callable[..., Any]
    options: Options
    fields: tuple[Field, ...]
    wants_ctx: bool
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name for people: as declared, else made from `name`."""
        return self.options.label or label_of(self.name)

    @property
    def description(self) -> str:
        """As declared, else the first line of the function's docstring."""
        return self.options.description or (inspect.getdoc(self.function) or "").strip().split("\n")[0]

    @property
    def file(self) -> str:
        """The path of the file that contains its function."""
        return self.function.__code__.co_filename

    @property
    def signature(self) -> str:
        """Names, type hints and whether required, of all arguments: what `code_version` hashes."""
        return ", ".join(f"{f.name}:{f.hint}:{f.required}" for f in self.fields)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def with_options(self, **given: Any) -> JobDefinition:
        """The same type with tenant_id, queue, delay (s), tries, backoff (s), timeout (s), after (uuids), batch for one
        dispatch. Raises TypeError for other names."""
        if unknown := set(given) - OF_DISPATCH:
            raise TypeError(f"with_options does not know {', '.join(sorted(unknown))}")
        return replace(self, given={**self.given, **given})

    def fit(self, args: Any) -> dict[str, Any]:
        """Arguments as the function takes them (JSON values checked, no file opened); raises InvalidArguments."""
        if not isinstance(args, dict):
            text = _("Arguments of %(job)s must be a JSON object with names and values.", job=self.name)
            raise InvalidArguments(text)
        known = [f.name for f in self.fields]
        if unknown := sorted(str(name) for name in args if name not in known):
            given = {"job": self.name, "names": ", ".join(unknown), "known": ", ".join(known) or "–"}
            raise InvalidArguments(_("%(job)s has no argument %(names)s; it takes %(known)s.", **given))
        if missing := [f.name for f in self.fields if f.required and f.name not in args]:
            raise InvalidArguments(_("%(job)s needs %(names)s.", job=self.name, names=", ".join(missing)))
        return {f.name: check(f.hint, args[f.name], f.name) for f in self.fields if f.name in args}

    def accept(self, args: Any, tenant_id: str | None) -> dict[str, Any]:
        """`fit` for a job that is about to be written: the type's own `check` looks at the arguments too. Raises
        InvalidArguments and ValidationError."""
        fitted = self.fit(args)
        if self.options.check is not None:
            try:
                self.options.check(fitted, tenant_id)
            except ValueError as error:
                raise error if isinstance(error, ValidationError) else ValidationError(text_of(error)) from None
        return fitted


_known: dict[str, JobDefinition] = {}
LABELS: dict[str, str] = {}  # of types that are not declared here: whose rows a demo or another program has written


def options_of(name: str, given: dict[str, Any]) -> Options:
    """The options of a new type. Raises ValueError for a bad name or option."""
    if not NAME.fullmatch(name):
        raise ValueError(f"job name {name!r}: letters, digits, dot and underscore only")
    try:
        options = Options(**given)
    except TypeError:
        raise ValueError(f"@job({name!r}): unknown option in {', '.join(sorted(given))}") from None
    whole = all(isinstance(n, int) and n >= 0 for n in options.backoff) and len(options.backoff) <= 30
    if options.queue not in QUEUES:
        raise ValueError(f"@job({name!r}): unknown queue {options.queue!r}; use {', '.join(QUEUES)}")
    if options.tries < 1 or options.timeout < 1 or not whole:
        raise ValueError(f"@job({name!r}): tries and timeout are at least 1, backoff a list of whole seconds")
    if type(options.concurrency) is not int or options.concurrency < 0:
        raise ValueError(f"@job({name!r}): concurrency is a whole number from 0 (no limit)")
    if options.per not in ("type", "tenant") and not re.fullmatch(r"args\.[A-Za-z_]\w{0,80}", options.per):
        raise ValueError(f"@job({name!r}): per is 'type', 'tenant' or 'args.NAME'")
    if options.rate_per not in ("", "type"):
        raise ValueError(f"@job({name!r}): rate_per is 'type', or '' for the same as per")
    if options.rate and options.rate not in RATES_OF_SETTINGS:
        parse_rate(options.rate)
    return options


def parse_rate(text: str) -> tuple[int, int]:
    """"60/m" as (60, 60000 ms); the unit is s, m, h or d, also with a number ("10/30s"). Raises ValueError."""
    found = RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    count, ms = (int(found[1]), int(found[2] or 1) * UNITS_MS[found[3]]) if found else (0, 0)
    if not 1 <= count <= MOST_RATE or not 1 <= ms <= 31 * UNITS_MS["d"]:
        raise ValueError(_("A rate is a number of starts in a time, such as 60/m, 5/s or 100/30m (at most %(n)s).",
                           n=MOST_RATE))
    return count, ms


def add(definition: JobDefinition) -> None:
    """Make a type known. Raises ValueError when another file declares the same name, and for `per` with an argument
    that the function does not take."""
    per, names = definition.options.per, [field.name for field in definition.fields]
    if per.startswith("args.") and per.removeprefix("args.") not in names:
        raise ValueError(f"@job({definition.name!r}): per={per!r} names an argument that the function does not take; "
                         f"it takes {', '.join(names) or 'none'}")
    before = _known.setdefault(definition.name, definition)
    if before.file != definition.file:
        modules = f"{before.function.__module__} and {definition.function.__module__}"
        raise ValueError(f"@job({definition.name!r}) is declared twice: {modules}")
    _known[definition.name] = definition


@dataclass(frozen=True)
class Schedule:
    """A recurring job: five fields of crontab in APP_TIMEZONE; `catch_up` runs once after minutes that were missed.
    `overlap` (of OVERLAPS) says what becomes of a run while a job of an earlier one is live."""

    name: str
    cron: str
    definition: JobDefinition
    args: dict[str, Any]
    catch_up: bool = False
    overlap: str = "allow"


_schedules: dict[str, Schedule] = {}


def add_schedule(schedule: Schedule) -> None:
    """Make a schedule known. Raises ValueError for a bad crontab and for a second schedule of that name,
    InvalidArguments for arguments that do not fit."""
    label, cron, definition = schedule.name, schedule.cron, schedule.definition
    try:
        CronSim(cron, datetime(2026, 1, 1))
    except CronSimError as error:
        raise ValueError(f"@recurring({cron!r}) of {label}: {error}; five fields as in crontab") from None
    if schedule.overlap not in OVERLAPS:
        raise ValueError(f"@recurring of {label}: overlap is {', '.join(map(repr, OVERLAPS))}")
    if label in _schedules and _schedules[label].definition.file != definition.file:
        raise ValueError(f"@recurring: {label} is declared twice; give one a name=")
    definition.fit(schedule.args)
    _schedules[label] = schedule


def schedules() -> list[Schedule]:
    """All declared schedules by name."""
    return [_schedules[name] for name in sorted(_schedules)]


def find(name: str) -> JobDefinition | None:
    """The definition of a type, or None."""
    return _known.get(name)


def known_types() -> list[JobDefinition]:
    """All declared types by name."""
    return [_known[name] for name in sorted(_known)]


def fair_types() -> set[str]:
    """Names of the types whose tenants take turns."""
    return {name for name, definition in _known.items() if definition.options.fair}


def label_of(name: str) -> str:
    """Label of a type: as declared or in LABELS, else 'ProcessCsvImport' -> 'Csv Import'."""
    definition = _known.get(name)
    if label := definition.options.label if definition is not None else LABELS.get(name):
        return label
    plain = name.rsplit(".", 1)[-1].removeprefix("Process") or name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain)


def code_version(definitions: Iterable[JobDefinition] | None = None) -> str:
    """Hash of (types, signatures): web and workers compare it and say so when they differ."""
    lines = sorted(f"{d.name}({d.signature})" for d in (definitions or _known.values()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
