"""The filter of the list of jobs, as addresses and forms give it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from app.extensions import db
from app.models import FINAL, LIVE_STATES, JobBatch
from app.models.job import BY_BATCH, BY_BUDGET, BY_LIMIT, BY_OVERLAP, BY_PERSON, BY_RATE, BY_TYPE
from app.support.clock import midnight
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant

GROUPS = {"live": LIVE_STATES, "ended": FINAL, "unsuccessful": ("failed", "timeout"), "bin": ("failed", "timeout"),
          "undecided": ("failed", "timeout")}
BINNED = {"bin": "IS NOT NULL", "undecided": "IS NULL"}  # groups of failed jobs by whether they are in the bin
GROUPS["counted"] = ("completed", "failed", "timeout")  # the outcomes of public figures
OLD_NAMES = {"unhappy": "unsuccessful"}  # in bookmarks of older versions
HOLDS = {"limit": (BY_LIMIT, BY_RATE)} | {  # what holds a job, with its hold codes
    code: (code,) for code in (BY_PERSON, BY_TYPE, BY_BUDGET, BY_BATCH, BY_OVERLAP)}
DIGITS = re.compile(r"[0-9a-f-]{8,36}")
NAMES = ("state", "queue", "type", "tenant", "batch", "since", "until", "q", "hold")


@dataclass(frozen=True)
class JobFilter:
    """The parts of the filter, each '' when not set. `since` and `until` are days (2026-11-23) of `zone`, both
    included: days of creation for live jobs, of finishing for others. `batch` is an id or its first digits, or the
    whole id of a batch that another program has begun; `hold` (of HOLDS) is what holds a job."""

    state: str = ""
    queue: str = ""
    type: str = ""
    tenant: str = ""
    batch: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    hold: str = ""
    zone: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, given: Any, zone: Any) -> JobFilter:
        """The filter from the fields of an address or a form. Raises ValidationError."""
        found = {name: check_text(str(given.get(name, ""))).strip() for name in NAMES}
        found["state"] = OLD_NAMES.get(found["state"], found["state"])
        if found["state"] not in ("", *GROUPS, *LIVE_STATES, *FINAL):
            raise ValidationError(_("Unknown state %(state)s.", state=repr(found["state"][:40])))
        if found["hold"] not in ("", *HOLDS):
            raise ValidationError(_("Unknown reason to hold a job: %(name)s.", name=repr(found["hold"][:40])))
        parse_queue(found["queue"])
        parse_tenant(found["tenant"])
        if DIGITS.fullmatch(found["batch"].lower()):
            found["batch"] = found["batch"].lower()
        elif found["batch"] and db.session.get(JobBatch, found["batch"][:255]) is None:
            raise ValidationError(_("A batch is named by its id, or by the first eight digits of it."))
        if len(found["q"]) > 200 or len(found["type"]) > 255:
            raise ValidationError(_("The search is longer than 200 characters."))
        for name in ("since", "until"):
            try:
                found[name] = found[name] and date.fromisoformat(found[name]).isoformat()
            except ValueError:
                raise ValidationError(_("A date is written as 2026-11-23.")) from None
        return cls(**found, zone=zone)

    @property
    def query(self) -> dict[str, str]:
        """The parts that are set, as an address has them."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    def states(self, of: tuple[str, ...]) -> list[str]:
        """The states among `of` that the filter admits, in their order."""
        wanted = GROUPS.get(self.state, (self.state,)) if self.state else of
        return [s for s in of if s in wanted]

    def start_of(self, day: str, days_later: int = 0) -> int:
        """The start (ms) of the day `days_later` days after `day`, in the zone."""
        first = date.fromisoformat(day)
        return midnight(first + timedelta(days=min(days_later, (date.max - first).days)), self.zone)
