"""The monitor's watch of the consumers: which have ended, which are frozen, which lack workers.

rows of `consumers`, one round a second -> `judge` (plain values, the monitor's own monotonic clock) -> the row gets
`stale` and a reason, or is deleted; a frozen consumer is killed, and its supervisor starts another
A row stays for 10 minutes after its consumer has ended without a word, or until another takes its place: so that what
should run is not forgotten with it. A row that this monitor never saw alive tells nothing: it goes at once, or after
30 s when its process is of another machine, boot or container (one that lives writes its row again). Missing workers
count after 30 s, so no restart, recycle or stop alarms. After a clock jump all periods begin anew.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections import Counter
from dataclasses import dataclass

import psutil

from app.ledger.workforce import wanted_by
from app.models.types import as_integer
from app.monitor.liveness import QUIET_S, SILENT_S
from app.monitor.worker_watch import WorkerWatch
from app.support import process
from app.support.messages import Message, to_json

log = logging.getLogger("app.monitor.loop")
LACK_S, FORGET_S, DYING_S, DYING = 30.0, 600.0, 60.0, 5
_ROWS = "SELECT consumer_id, host, queue, process_id, wanted, beat_ms, stale, reason FROM consumers"
_PRESENT = "SELECT consumer_id, COUNT(*) FROM worker_heartbeats WHERE status <> 'stopped' GROUP BY consumer_id"
_PIDS = "SELECT process_id FROM worker_heartbeats WHERE consumer_id = :c AND status <> 'stopped'"
_WRITE = "UPDATE consumers SET stale = :s, reason = :r, reason_json = :json WHERE consumer_id = :c"
_FORGET = "DELETE FROM consumers WHERE consumer_id = :c AND beat_ms = :b"


@dataclass
class Seen:
    """What the monitor remembers of a consumer (monotonic seconds): the first look, the last change of its beat, since
    when it is stopped, has ended, or lacks workers. `lived`: this monitor saw it alive."""

    first: float
    beat: int
    beat_at: float
    lived: bool
    stopped_at: float | None = None
    ended_at: float | None = None
    lacks_at: float | None = None


@dataclass(frozen=True)
class Facts:
    """One consumer in this round. `here`: its pid is one of this machine; `lacks`: how many of the `wanted` workers
    have no row; `deaths`: how many died in the last minute; `followed_at`: the first look at the newest other consumer
    of its host and queues, or None."""

    beat: int
    here: bool
    ended: bool
    stopped: bool
    wanted: int
    lacks: int
    deaths: int = 0
    followed_at: float | None = None


@dataclass(frozen=True)
class Verdict:
    """`forget`: its row is deleted; `kill`: the process is killed; `clear`: those of its children are killed that a
    signal has stopped and that are no known worker; `stale` and `why` are written into its row."""

    forget: bool = False
    kill: bool = False
    clear: bool = False
    stale: bool = False
    why: str | None = None


def judge(facts: Facts, seen: Seen, now: float) -> Verdict:
    """The verdict on a consumer at `now` (monotonic s)."""
    if facts.beat != seen.beat:
        seen.beat, seen.beat_at, seen.lived = facts.beat, now, True
    for name, holds in (("stopped_at", facts.stopped), ("ended_at", facts.ended), ("lacks_at", facts.lacks > 0)):
        since = getattr(seen, name)
        setattr(seen, name, (now if since is None else since) if holds else None)
    silent = now - seen.beat_at
    lost = silent >= (SILENT_S if seen.lived else QUIET_S)
    gone_at = seen.ended_at if facts.here else seen.beat_at if lost else None
    if gone_at is not None:
        followed = facts.followed_at is not None and facts.followed_at >= gone_at
        if not seen.lived or followed or now - gone_at >= FORGET_S:
            return Verdict(forget=True)
        if now - gone_at < LACK_S:
            return Verdict()
        ended = Message("its consumer has ended, and no other has taken its place")
        return Verdict(stale=True, why=ended if facts.here else Message("unheard for %(n)s s", n=int(SILENT_S)))
    stood = 0.0 if seen.stopped_at is None else now - seen.stopped_at
    if stood >= QUIET_S:
        why = Message("its consumer is frozen: a signal has stopped the process, and nobody replaces its workers")
        return Verdict(kill=stood >= SILENT_S, stale=True, why=why)
    if silent >= SILENT_S:
        return Verdict(clear=True, stale=True, why=Message("its consumer does not report"))
    if facts.deaths >= DYING:
        return Verdict(why=Message("its workers die again and again: %(n)s in the last minute", n=facts.deaths))
    lacking = 0.0 if seen.lacks_at is None else now - seen.lacks_at
    if lacking >= LACK_S:
        why = Message("%(n)s of %(wanted)s workers missing", n=facts.lacks, wanted=facts.wanted)
        return Verdict(clear=lacking >= SILENT_S, why=why)
    return Verdict()


class ConsumerWatch:
    """What one monitor knows of the consumers; `workers` is its watch of the workers, whose clock it uses."""

    def __init__(self, workers: WorkerWatch) -> None:
        self.workers, self.connection = workers, workers.connection
        self.seen: dict[str, Seen] = {}
        self._calm_until = 0.0

    def look(self) -> None:
        """One round. Raises the errors of the database, and after the round TypeError or ValueError for a row that no
        rule can judge."""
        now = self.workers.monotonic()
        if self._calm_until != self.workers.calm_until:
            self._calm_until = self.workers.calm_until
            for seen in self.seen.values():
                seen.beat_at, seen.stopped_at, seen.lacks_at = now, None, None
        rows, present = self.connection.fetch_all(_ROWS), dict(self.connection.fetch_all(_PRESENT))
        ended = {row[0]: process.has_ended(row[0]) for row in rows}
        self.seen = {row[0]: self.seen.get(row[0]) or Seen(now, row[5], now, self._runs(row[0])) for row in rows}
        deaths, failed = self._deaths(now), None
        for consumer_id, host, queue, pid, wanted, beat, stale, reason in rows:
            pid, wanted = as_integer(pid, 0) or 0, wanted_by(wanted)
            here = process.is_here(consumer_id)
            others = [self.seen[row[0]].first for row in rows if row[0] != consumer_id and row[1:3] == (host, queue)
                      and not ended[row[0]]]
            facts = Facts(beat, here, ended[consumer_id], here and process.is_stopped(pid), wanted,
                          max(wanted - present.get(consumer_id, 0), 0), deaths[consumer_id], max(others, default=None))
            try:
                self._follow(judge(facts, self.seen[consumer_id], now), consumer_id, pid, beat, stale, reason)
            except (TypeError, ValueError) as error:  # a row that another program wrote must not hide the next ones
                failed = error
        if failed is not None:
            raise failed

    def _follow(self, verdict: Verdict, consumer_id: str, pid: int, beat: int, stale: int, reason: str | None) -> None:
        if verdict.kill and process.kill_if_same(consumer_id, signal.SIGKILL):
            log.warning("consumer %s stood frozen: killed; its supervisor starts another", pid)
        if verdict.clear and process.is_here(consumer_id) and not process.has_ended(consumer_id):
            known = self.connection.fetch_all(_PIDS, c=consumer_id)
            with contextlib.suppress(psutil.Error, ValueError):  # no such pid
                for child in psutil.Process(pid).children():
                    if child.status() == psutil.STATUS_STOPPED and (child.pid,) not in known:
                        log.warning("process %s of consumer %s stood frozen: killed", child.pid, pid)
                        child.kill()
        if verdict.forget:
            with self.connection.transaction() as tx:
                tx.execute(_FORGET, c=consumer_id, b=beat)
        elif (int(verdict.stale), verdict.why) != (stale, reason):
            with self.connection.transaction() as tx:
                tx.execute(_WRITE, s=int(verdict.stale), r=verdict.why, json=to_json(verdict.why), c=consumer_id)

    def _deaths(self, now: float) -> Counter[str]:
        """How many workers of each consumer died in the last minute."""
        self.workers.deaths = [(at, consumer) for at, consumer in self.workers.deaths if now - at < DYING_S]
        return Counter(consumer for _, consumer in self.workers.deaths)

    @staticmethod
    def _runs(consumer_id: str) -> bool:
        """Whether it is known to run: a process of this machine that has not ended."""
        return process.is_here(consumer_id) and not process.has_ended(consumer_id)
