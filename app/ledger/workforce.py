"""Which workers run of those that should, which job each holds, and what is wrong.

consumers (what should run) + worker_heartbeats (what the monitor concluded) + rows of `jobs` in processing
  -> `look` -> one Workforce for the dashboard, the page of workers, the alerts, and a sample every few seconds
A worker is busy when the ledger says so: a job that holds the interpreter keeps its worker from reporting. Nothing here
judges that a process is dead or missing: the monitor does, and writes a reason into its row. Without a row in
`consumers` it is not known what should run, and no worker is missing. A value that SQLite stored in another form is not
known: a job without a time limit or a start is never past it, a consumer without a number wants none.
"""

from __future__ import annotations

from collections import Counter, namedtuple
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from app.ledger.dialect import Connection
from app.ledger.executor import Executor
from app.models.types import as_integer, as_text
from app.support.clock import MINUTE_MS, stamp, stored_ms, when
from app.support.messages import Message, from_row

ORDER = ("missing", "unresponsive", "stuck", "silent")
MOST = 255  # workers of a consumer: their number is one byte (worker_slots.py)
OVER_MS = 5_000  # a job that ends at its time limit needs a moment to write that
STUCK = Message("Its job is past its time limit; 30 s after that the worker is killed and the job gets its timeout.")

_CONSUMERS = """SELECT consumer_id, host, wanted, stale, reason, reason_json, beat_ms FROM consumers
 ORDER BY host, consumer_id"""
_WORKERS = """SELECT w.worker_id, w.worker_name, w.consumer_id, w.stale, w.reason, w.reason_json, w.job_uuid,
 w.last_heartbeat, j.id, j.uuid, j.job_type, j.reserved_ms, j.timeout FROM worker_heartbeats w
 LEFT JOIN jobs j ON j.worker_id = w.worker_id AND j.state = 'processing'
 WHERE w.status <> 'stopped' ORDER BY w.id, j.reserved_ms, j.id"""
_LAST = """SELECT worker_name, stopped_ms, reason, reason_json FROM worker_heartbeats
 WHERE consumer_id = :c AND status = 'stopped' AND stop_code IS NULL ORDER BY stopped_ms DESC LIMIT 1"""
_LOST = """SELECT uuid, job_type FROM job_metrics WHERE completed_at BETWEEN :since AND :until AND status = 'lost'
 AND worker = :w ORDER BY id DESC LIMIT 1"""
_SAMPLE = """INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy)
 VALUES (:minute, 1, :wanted, :alive, :busy) ON CONFLICT (minute_ms) DO UPDATE SET
 samples = worker_minutes.samples + 1, wanted = worker_minutes.wanted + excluded.wanted,
 alive = worker_minutes.alive + excluded.alive, busy = worker_minutes.busy + excluded.busy"""

# The row that a worker runs: its id, uuid, type, when it was claimed (ms), its time limit (s).
Held = namedtuple("Held", "id uuid job_type since timeout")


@dataclass(frozen=True)
class Trouble:
    """`count` workers that are `missing`, `unresponsive` (frozen, or silent for 2 min), `stuck` (the job is past its
    time limit) or `silent` (for 30 s). `name` is the worker's, or the host of the consumer that lacks them; `why` is a
    Message; `since_ms` is when it was last heard or should have ended; the job is the one that it holds or has lost."""

    kind: str
    name: str
    why: str
    since_ms: int | None
    uuid: str | None = None
    job_type: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Workforce:
    """Numbers of workers: `expected` is how many should run (None: not known), `missing` how many of them have no
    process, `active` and `stale` how many respond and do not, `busy` how many of the active ones hold a job. `held`:
    their jobs by worker_id. `troubles`: the gravest first."""

    expected: int | None
    missing: int
    active: int
    stale: int
    busy: int
    held: dict[str, Held]
    troubles: list[Trouble]


def is_over(held: Held | None, now: int) -> bool:
    """Whether a job is past its time limit at `now` (ms)."""
    return held is not None and None not in held[3:] and now - held.since > held.timeout * 1000 + OVER_MS


def wanted_by(stored: Any) -> int:
    """How many workers a consumer wants, by the `wanted` of its row."""
    return min(max(as_integer(stored, 0) or 0, 0), MOST)


def look(tx: Executor) -> Workforce:
    """The workers of this moment."""
    now, troubles, held, active, stales, present = tx.now(), [], {}, 0, set(), Counter()
    for worker, rows in groupby(tx.fetch_all(_WORKERS), key=lambda row: row[:8]):
        worker_id, name, reason, reported = map(as_text, (worker[0], worker[1], worker[4], worker[6]))
        consumer_id, stale, form, beat = worker[2], as_integer(worker[3], 0), worker[5], worker[7]
        jobs = [Held(row[8], as_text(row[9]), as_text(row[10]), as_integer(row[11]), as_integer(row[12]))
                for row in rows if row[8] is not None]  # of a group: the one that it reports
        job = next((job for job in jobs if job.uuid == reported), jobs[0] if jobs else None)
        if job is not None:
            held[worker_id] = job
        present[consumer_id] += 1
        active += not stale
        stales |= {worker_id} if stale else set()
        if kind := "stuck" if is_over(job, now) else "unresponsive" if stale else "silent" if reason else None:
            over = kind == "stuck"
            troubles.append(Trouble(
                kind, name, STUCK if over else from_row(reason, form) or "",
                job.since + job.timeout * 1000 if over else stored_ms(beat), job and job.uuid, job and job.job_type))
    consumers = tx.fetch_all(_CONSUMERS)
    wanted = {row[0]: wanted_by(row[2]) for row in consumers}
    lacking = {consumer_id: max(n - present[consumer_id], 0) for consumer_id, n in wanted.items()}
    lines = [_missing(tx, lacking[row[0]], *row) for row in consumers if row[4]]
    return Workforce(
        sum(wanted.values()) if consumers else None, sum(lacking.values()), active, len(stales),
        len(held.keys() - stales), held, sorted(lines + troubles, key=lambda trouble: ORDER.index(trouble.kind)))


def _missing(tx: Executor, lacking: int, consumer_id: Any, host: Any, _wanted: Any, stale: Any, reason: Any,
             form: Any, beat: Any) -> Trouble:
    """What the monitor says of a consumer; with how its last worker ended, and the job which that lost."""
    why, lost, stale, beat = from_row(as_text(reason), form) or "", (None, None), as_integer(stale, 0), as_integer(beat)
    since = beat if stale and beat and tx.now() - beat > MINUTE_MS else None  # a frozen consumer's scheduler goes on
    for name, at, last, last_form in tx.fetch_all(_LAST, c=consumer_id) if lacking and not stale else ():
        ended = from_row(as_text(last), last_form) or as_text(name)
        why = Message("%(what)s; the last that ended: %(why)s", what=why, why=ended)
        if when(since := as_integer(at)):
            window = {"since": stamp(since - MINUTE_MS), "until": stamp(since)}
            lost = next(iter(tx.fetch_all(_LOST, w=name, **window)), lost)
    return Trouble("missing", as_text(host) or "", why, since, *map(as_text, lost), count=max(lacking, 1))


def sample(connection: Connection) -> None:
    """Add a sample to the figures of the present minute in `worker_minutes`."""
    seen = look(connection)
    alive = seen.active + seen.stale
    with connection.transaction() as tx:
        tx.execute(_SAMPLE, minute=tx.now() // MINUTE_MS * MINUTE_MS, alive=alive, busy=seen.busy,
                   wanted=alive if seen.expected is None else seen.expected)
