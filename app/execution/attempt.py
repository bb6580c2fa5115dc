"""One execution of a claimed row in this worker."""

from __future__ import annotations

from dataclasses import dataclass

from app.ledger.claim import Claim
from app.ledger.settle import Outcome, Parked


@dataclass(slots=True)
class Attempt:
    """The attribute `attempt` of Huey's task from the claim until the outcome is written; then None.

    `outcome` is set once, when the job's own code has ended. `armed`: the job's own code runs, and the alarm may break
    it. `timed_out`: the time limit has passed before there was an outcome; the alarm sets it.
    """

    claim: Claim
    outcome: Outcome | Parked | None = None
    armed: bool = False
    timed_out: bool = False
