"""All that happened to a job, in the order of time, in rounds: a retry by hand begins the next round.

job_metrics (one row an outcome) -> one `Attempt` a claim, numbered 1, 2 ... in its round, whatever became of it
log of actions of the job        -> one `Act` an entry
Which attempts use up a try: not those that were lost, handed back, or put off by their own code. Two outcomes of one
claim (lost, and then failed as it had killed its worker too often; lost, and then late) are one attempt. What retention
has deleted is missing: then the first attempt here may not be the first there was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.models import FINAL
from app.services.audit import AuditRow
from app.services.jobs.views import AttemptView, JobView

NEXT_ROUND = ("retry", "edit and retry")  # actions that begin a round
_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Attempt:
    """An attempt: its number `n` in its round (None when it was ended before it began), its main outcome, other
    outcomes of the same claim, and which of its tries it used up (None: none). `lines`: how many lines it logged."""

    at: datetime | None
    n: int | None
    outcome: AttemptView
    also: list[str]
    used: int | None
    lines: int = 0


@dataclass(frozen=True)
class Act:
    """An action of a person on the job."""

    at: datetime | None
    entry: AuditRow


@dataclass
class Round:
    """A round: its number from 1, and what happened in it in the order of time."""

    number: int
    steps: list[Attempt | Act] = field(default_factory=list)

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts that began."""
        return [step for step in self.steps if isinstance(step, Attempt) and step.n is not None]

    @property
    def used(self) -> int:
        """How many tries its attempts have used up."""
        return sum(a.used is not None for a in self.attempts)

    @property
    def lost(self) -> int:
        """How many of its attempts were lost."""
        return sum(a.outcome.status == "lost" or "lost" in a.also for a in self.attempts)


def rounds(job: JobView, outcomes: list[AttemptView], entries: list[AuditRow], lines: dict[int, int]) -> list[Round]:
    """The rounds of a job, from its outcomes (as `lookup.attempts_of`), the entries of the log about it and the numbers
    of its log lines by claim."""
    said = any(entry.action == "cancel" for entry in entries)  # tells more than the outcome of a job that never began
    attempts = [a for a in _attempts(job, outcomes, lines) if a.n or not said or a.outcome.status != "cancelled"]
    steps: list[Attempt | Act] = [*attempts, *(Act(entry.at, entry) for entry in entries)]
    steps.sort(key=lambda step: (step.at or _LONG_AGO, isinstance(step, Act)))
    found = [Round(1)]
    for step in steps:
        if isinstance(step, Act):
            number = found[-1].number + (str(step.entry.action) in NEXT_ROUND and bool(found[-1].attempts))
        else:
            number = max(found[-1].number, step.outcome.retry_round)
        if (number := min(number, max(job.retry_round, 1))) > found[-1].number:
            found.append(Round(number))
        found[-1].steps.append(step)
    return [one for one in found if one.steps]


def _attempts(job: JobView, outcomes: list[AttemptView], lines: dict[int, int]) -> list[Attempt]:
    claims: dict[tuple[int, int], list[AttemptView]] = {}
    for outcome in outcomes:
        claims.setdefault((outcome.retry_round, outcome.claim_no), []).append(outcome)
    ordered, result, n, used, last = sorted(claims.items()), [], 0, 0, None
    for at, ((number, claim_no), found) in enumerate(ordered):
        main = next((o for o in found if o.status in FINAL), next((o for o in found if o.status != "late"), found[0]))
        began = main.started or next((o.started for o in found if o.started), None)
        n, used = (0, 0) if number != last else (n, used)
        last = number
        following = ordered[at + 1] if at + 1 < len(ordered) and ordered[at + 1][0][0] == number else None
        counts = began is not None and _counts(job, main, found, following[1][0] if following else None)
        n, used = n + (began is not None), used + counts
        result.append(Attempt(began or main.finished, n if began else None, main,
                              [o.status for o in found if o is not main], used if counts else None,
                              lines.get(claim_no, 0)))
    return result


def _counts(job: JobView, main: AttemptView, found: list[AttemptView], following: AttemptView | None) -> bool:
    """Whether an attempt used up a try. Code that puts its own retry off gives its number back: the next has it too."""
    if any(o.status in ("lost", "released", "late") for o in found):
        return False
    if main.status != "retried":
        return True
    if following is not None:
        return following.attempt > main.attempt
    if not job.live or job.retry_round != main.retry_round:
        return True
    return job.attempts + (job.state != "processing") > main.attempt
