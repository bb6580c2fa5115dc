"""Jobs as plain values for pages, JSON and the command line. Times are aware datetimes, memory is in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Steps `done` of `total` (None: unknown), and a note of the job."""

    done: int
    total: int | None
    note: str | None


@dataclass(frozen=True)
class JobView:
    """All that is known of one job. `state` is its live state or, once it has ended, its `status` (None before).

    `args` are its arguments without secrets; `known`: its type is declared here; `failed_open`: it failed and waits for
    a decision; `in_bin`: it failed and is in the bin. `timeout` is in seconds. The fields from `result` to
    `finished_at` belong to jobs that have ended, the others after `error` to live jobs; elsewhere they are None or
    False. `hold_code` says why a held job is held; `limit` has sentences about the limit of a live job's type. `lost`
    of its attempts use up no tries.
    """

    uuid: str
    job_type: str
    label: str
    known: bool
    queue: str
    tenant_id: str | None
    args: dict[str, Any]
    tries: int
    retry_round: int
    created_by: str | None
    created_at: datetime | None
    batch_id: str | None
    live: bool
    failed_open: bool
    in_bin: bool
    state: str
    status: str | None
    attempts: int
    claim_no: int
    error: str | None
    result: Any = None
    traceback: str | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    timeout: int | None = None
    next_at: datetime | None = None
    reserved_at: datetime | None = None
    progress: Progress | None = None
    worker: str | None = None
    memory: int | None = None
    hold_code: str | None = None
    limit: list[str] | None = None
    lost: int = 0


@dataclass(frozen=True)
class AttemptView:
    """The outcome of an attempt. `started_at` is `started` as text, `processing_time` is in ms, `memory_used` is the
    peak. `wait_ms` is the wait: from when the job was ready (its time had come) to when it began. `code_version` is
    that of its worker."""

    attempt: int
    status: str
    worker: str | None
    retry_round: int
    claim_no: int
    started_at: str | None
    started: datetime | None
    finished: datetime | None
    wait_ms: int | None
    processing_time: int | None
    memory_used: int | None
    error_message: str | None
    details: dict[str, Any]
    code_version: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class LogLine:
    """A line that a job logged or printed. `source` is None for lines from `ctx.log`, else stdout, stderr, worker or
    the name of a logger."""

    at: datetime | None
    level: str
    attempt: int | None
    text: str
    source: str | None
    id: int
    claim_no: int | None = None


@dataclass(frozen=True)
class JobSummary:
    """A job in `jobs list --json` and in the JSON of the list; `state` is its live state or final status."""

    uuid: str
    type: str
    queue: str
    state: str
    tenant_id: str | None
    attempts: int


@dataclass(frozen=True)
class ListedJob:
    """The fields that the rows of all lists have; `label` is that of the type."""

    uuid: str
    job_type: str
    label: str
    tenant_id: str | None
    queue: str


@dataclass(frozen=True)
class QueuedJob(ListedJob):
    """A live job on the dashboard; `summary` is its telling argument, `reason` says why it waits. `lost` of its
    attempts use up no tries."""

    id: int
    summary: str
    state: str
    attempts: int
    created_at: datetime | None
    reason: str | None
    lost: int


@dataclass(frozen=True)
class FailedJobView(ListedJob):
    """A failed job that waits for a decision; `exception` is the end of its traceback."""

    id: int
    error: str
    exception: str
    status: str
    failed_at: datetime | None


@dataclass(frozen=True)
class JobRow(ListedJob):
    """A job in the list. `key` is its cursor; `args` are read for an export only; `summary` is its telling argument;
    `percent` is its progress.

    `waited_ms`, `ran_ms` and `memory` (the peak in bytes) are those of the last attempt; times count until now while
    the job waits or runs. `why` says
    why a ready job does not run, or when a job begins or ends. `lost` of its attempts use up no tries.
    """

    key: str
    args: dict[str, Any] | None
    summary: str
    attempts: int
    tries: int
    state: str
    error: str | None
    created_at: datetime | None
    finished_at: datetime | None
    next_at: datetime | None
    reserved_at: datetime | None
    percent: int | None
    live: bool
    waited_ms: int | None
    ran_ms: int | None
    in_bin: bool
    why: str | None
    lost: int = 0
    memory: int | None = None


@dataclass(frozen=True)
class JobPage:
    """A page of the list, newest first, and the cursors of the pages with older and newer jobs (None without such).

    `seen` is the number of matching rows in each table (`l` live, `h` finished) that was read to its end. `behind` is
    how many jobs that have just ended were not considered, counted to 1,000. `stopped`: the time of a search was over;
    jobs older than the cursor `older` were not read.
    """

    rows: list[JobRow]
    seen: dict[str, int]
    older: str | None
    newer: str | None
    behind: int = 0
    stopped: bool = False
