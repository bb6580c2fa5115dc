"""What a person asks the list of jobs for, as addresses and forms say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.support.clock import midnight
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_text, parse_queue, parse_tenant

GROUPS = {"live": LIVE_STATES, "ended": FINAL, "unsuccessful": ("failed", "timeout"), "bin": ("failed", "timeout")}
OLD_NAMES = {"unhappy": "unsuccessful"}  # in addresses that people have kept
NAMES = ("state", "queue", "type", "tenant", "since", "until", "q")


@dataclass(frozen=True)
class JobFilter:
    """What a person asked for; `since`, `until` are days of `zone`, both included, of sending (live) or finishing."""

    state: str = ""
    queue: str = ""
    type: str = ""
    tenant: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    zone: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, given: Any, zone: Any) -> JobFilter:
        """From an address or a form; raises ValidationError with a sentence."""
        found = {name: check_text(str(given.get(name, ""))).strip() for name in NAMES}
        found["state"] = OLD_NAMES.get(found["state"], found["state"])
        if found["state"] not in ("", *GROUPS, *LIVE_STATES, *FINAL):
            raise ValidationError(_("Unknown state %(state)s.", state=repr(found["state"][:40])))
        parse_queue(found["queue"])
        parse_tenant(found["tenant"])
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
        """What stands in the address: the parts that are set."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    def states(self, of: tuple[str, ...]) -> list[str]:
        wanted = GROUPS.get(self.state, (self.state,)) if self.state else of
        return [s for s in of if s in wanted]

    def start_of(self, day: str, days_later: int = 0) -> int:
        """Start in ms of a day of the zone, or of one so many days later."""
        first = date.fromisoformat(day)
        return midnight(first + timedelta(days=min(days_later, (date.max - first).days)), self.zone)
