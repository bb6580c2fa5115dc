"""A claimed row of `jobs`, and what guards each change of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, fields

FENCE = "id = :id AND state = 'processing' AND worker_id = :w AND claim_no = :k"


@dataclass(slots=True)
class Claim:
    """A claimed row: its columns of `jobs`, and the name of its worker. Times in ms, `timeout` in s, `backoff` as
    '60,300,1800' (s)."""

    id: int
    uuid: str
    job_type: str
    tenant_id: str | None
    queue: str
    payload: str
    attempts: int
    tries: int
    failures: int
    crashes: int
    claim_no: int
    round: int
    timeout: int
    backoff: str
    created_ms: int
    available_ms: int
    reserved_ms: int
    retry_until_ms: int
    durable: int
    cancel_requested: int
    over_time: int  # 1: its time limit has passed
    has_children: int
    alone: int
    batch_id: str | None
    limit_key: str | None
    worker_id: str
    created_by: str | None
    worker: str = ""

    @property
    def fence(self) -> dict[str, object]:
        """The parameters of FENCE."""
        return {"id": self.id, "w": self.worker_id, "k": self.claim_no}


COLUMNS = ", ".join(column.name for column in fields(Claim)[:-1])
# FENCE for several claims of one worker; `:pairs` is their `pairs_of`.
FENCES = "state = 'processing' AND worker_id = :w AND (id, claim_no) IN {pairs}"


def pairs_of(jobs: Iterable[Claim]) -> str:
    """The ids and claim numbers of claims as JSON, for FENCES."""
    return json.dumps([(job.id, job.claim_no) for job in jobs])


RESTING = "CASE WHEN waits > 0 THEN 'waiting' WHEN available_ms > :now THEN 'scheduled' ELSE 'pending' END"
# A job that has dispatched others after itself does not write its own row: who frees the row marks it.
MARKED = ("CASE WHEN EXISTS (SELECT 1 FROM job_edges e WHERE e.parent_uuid = jobs.uuid AND e.is_open = 1) THEN 1 "
          "ELSE has_children END")
_NUMBERS = tuple(place for place, column in enumerate(fields(Claim)) if column.type == "int")


def read_claim(row: tuple, worker: str) -> Claim:
    """A row of COLUMNS as a claim. SQLite keeps text in a number's column when another program writes it: that counts
    as 0."""
    for place in _NUMBERS:
        if type(row[place]) is not int:
            row = (*row[:place], 0, *row[place + 1:])
    return Claim(*row, worker=worker)


# The claim whose job's own code runs now, in the thread of that code.
running: ContextVar[Claim | None] = ContextVar("running_claim", default=None)
