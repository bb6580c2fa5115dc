"""Groups of short jobs: rows that a worker has claimed together, and outcomes that it has not written yet.

One commit a job is most of the price of a short job. So a worker claims up to GROUP_SIZE rows of types whose last 32
runs in this worker all took under 5 ms, and writes their outcomes in one transaction, together with its next claim.

    ended -> unwritten outcomes -> written 20 ms after the first of them ended, or when the group is empty
    a job turns out slow -> `GroupWatch`, a thread with a connection of its own, writes the outcomes after 20 ms and
                            hands the rows back that have not begun after 50 ms, uncounted
    stop, quiet, restart -> both at once
    killed -> which row ran is not known: all come back as `lost`, none counts a crash, and each is claimed alone from
              now on (rescue.py). At most 32 short jobs that ended in the last 20 ms run twice.

The main thread and the watch share `lock`: who holds it may write outcomes and hand back rows.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from app import registry
from app.ledger.claim import Grouping
from app.ledger.claimed_row import Claim
from app.ledger.settle import Outcome, Parked

SHORT_MS, RUNS = 5.0, 32
WRITE_S, HAND_BACK_S, LOOK_S, CALM_S, AGAIN_S = 0.02, 0.05, 0.01, 1.0, 0.5


class Group:
    """The claimed rows that wait in this worker, and the outcomes that wait to be written.

    `size` is the most rows, `workers` the number of live workers, `clock` gives seconds that never go back.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size, self.clock, self.workers = size, clock, 1
        self.lock = threading.RLock()
        self.waiting: deque[Claim] = deque()
        self.ended: dict[int, tuple[Claim, Outcome | Parked]] = {}
        self.claimed_at = self.began_at = self.first_end = 0.0
        self._short: dict[str, int] = defaultdict(int)
        self._types: frozenset[str] = frozenset()

    @property
    def grouping(self) -> Grouping | None:
        """What the next claim may take together; None for one row at a time."""
        return Grouping(self._types, self.size, self.workers) if self._types and self.size > 1 else None

    def add(self, claims: list[Claim]) -> None:
        """Rows that were just claimed."""
        with self.lock:
            self.claimed_at = self.began_at = self.clock()  # the row before may have begun long ago
            self.waiting.extend(claims)

    def begin(self) -> Claim | None:
        """The next row, which begins now; None without one."""
        with self.lock:
            if not self.waiting:
                return None
            self.began_at, job = self.clock(), self.waiting.popleft()
            if job.limit_key is None:  # else it names the start that the claim has taken (limits.py)
                job.reserved_ms += int((self.began_at - self.claimed_at) * 1000)  # its wait ends when it begins
            return job

    def end(self, job: Claim, outcome: Outcome | Parked) -> bool:
        """Keep the outcome of the row that began last; returns whether it must be written now."""
        now = self.clock()
        self._note(job.job_type, (now - self.began_at) * 1000)
        self.first_end = self.first_end if self.ended else now
        self.ended[job.id] = job, outcome
        return not self.waiting or now - self.first_end >= WRITE_S

    def _note(self, job_type: str, ran_ms: float) -> None:
        runs = self._short[job_type] = self._short[job_type] + 1 if ran_ms < SHORT_MS else 0
        if (runs >= RUNS) != (job_type in self._types):
            definition = registry.find(job_type)
            may = runs >= RUNS and definition is not None and definition.options.group
            self._types = self._types | {job_type} if may else self._types - {job_type}

    def claims(self) -> list[Claim]:
        """All rows that this worker holds beside the running one."""
        with self.lock:
            return [*self.waiting, *(job for job, _outcome in self.ended.values())]


class GroupWatch(threading.Thread):
    """Acts while the main thread is busy with a job: see the module. `settle(hand back)` writes,
    and returns whether it could."""

    def __init__(self, group: Group, settle: Callable[[bool], bool]) -> None:
        super().__init__(name="group-watch", daemon=True)
        self.group, self._settle = group, settle
        self._wake, self._asleep, self._not_before = threading.Event(), True, 0.0

    def wake(self) -> None:
        """A group has begun."""
        if self._asleep:
            self._wake.set()

    def run(self) -> None:
        """The thread's loop."""
        while True:
            self._asleep = True
            if not (self.group.waiting or self.group.ended):  # else a group began just before
                self._wake.wait()
            self._asleep = False
            self._wake.clear()
            calm_since, calm = time.monotonic(), False
            while not calm:
                time.sleep(LOOK_S)
                if self.group.waiting or self.group.ended:
                    calm_since = time.monotonic()
                    self._look()
                calm = time.monotonic() - calm_since >= CALM_S

    def _look(self) -> None:
        group = self.group
        with group.lock:
            if (now := group.clock()) < self._not_before:
                return
            write = bool(group.ended) and now - group.first_end >= WRITE_S
            slow = bool(group.waiting) and now - group.began_at >= HAND_BACK_S
            if write or slow:
                self._not_before = now + (0.0 if self._settle(slow) else AGAIN_S)
