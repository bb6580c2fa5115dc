"""Child processes of jobs: they end with the job unless it completed, and at the latest with the worker.

Linux reparents an orphan to its nearest ancestor that is a subreaper (PR_SET_CHILD_SUBREAPER). Worker and consumer are
subreapers, so even a daemon that has forked twice stays their descendant.

event                         who ends the processes
the job ended in its worker   the worker (`end_all`); those of a completed job run on, and their names are logged
the worker was killed         the consumer, whose children the orphans become (`end_orphans`)
the consumer was killed too   the monitor, when it reaps the worker (`end_marked`): it finds them by a variable in their
                              environment, or by the worker's lock file, which a fork without exec keeps open

A process escapes only if it clears its environment while all its ancestors are being killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from app.support.process import become_subreaper, proc_stat

MARK = "AINSTEIN_WORKER"  # the environment variable with the worker's id
TERM_S, KILL_S, POLL_S = 1.0, 5.0, 0.02  # seconds: after SIGTERM, in all, between two looks


def adopt(worker_id: str = "") -> None:
    """Become a subreaper; with a `worker_id`, mark the environment of all processes that this one starts."""
    become_subreaper()
    if worker_id:
        os.environ[MARK] = worker_id


def running() -> dict[int, int]:
    """Parent pid by pid of all running processes, without zombies; {} without /proc. Takes 2 ms for 100 processes."""
    stats = ((int(process.name), proc_stat(process.name)) for process in Path("/proc").glob("[0-9]*"))
    return {pid: int(fields[1]) for pid, fields in stats if fields and fields[0] not in "ZX"}


def any_left() -> bool:
    """Whether this process has any child, running or ended; costs one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def below(ancestor: int, spare: Iterable[int] = ()) -> list[int]:
    """Pids of the running descendants of a process, without those in `spare` and their descendants."""
    parents, found, level = running(), [], {ancestor}
    while level := {pid for pid, parent in parents.items() if parent in level and pid not in spare}:
        found += sorted(level)
    return found


tolerated: set[int] = set()  # pids that completed jobs have left running


def left() -> list[int]:
    """Pids of this process's running descendants, without the tolerated ones and the helpers of multiprocessing.
    Children that have ended are reaped."""
    helpers = _helpers()
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in helpers:
            os.waitpid(ended.si_pid, os.WNOHANG)
    tolerated.intersection_update(running() if tolerated else ())
    return below(os.getpid(), helpers | tolerated)


def tolerate() -> list[str]:
    """Tolerate the running descendants until the worker ends; returns their names."""
    pids = left()
    tolerated.update(pids)
    return [name_of(pid) for pid in pids]


def _helpers() -> set[int]:
    """Pids of multiprocessing's resource tracker and fork server, which it starts once and keeps."""
    found = set()
    for name, attribute in (("resource_tracker", "_pid"), ("forkserver", "_forkserver_pid")):
        helper = getattr(sys.modules.get(f"multiprocessing.{name}"), f"_{name}", None)
        if pid := getattr(helper, attribute, None):
            found.add(pid)
    return found


def name_of(pid: int) -> str:
    """Command and pid: 'sleep (4711)'; the pid alone when the process is gone."""
    with contextlib.suppress(OSError):
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})"
    return str(pid)


def end_all() -> list[str]:
    """End all descendants: SIGTERM, after 1 s SIGKILL, for 5 s at most. Returns the names of those that ran."""
    names = [name_of(pid) for pid in left()]
    if not names:
        return []
    terminated, end = time.monotonic() + TERM_S, time.monotonic() + KILL_S
    _signal(left(), signal.SIGTERM)
    while (pids := left()) and time.monotonic() < end:
        if time.monotonic() > terminated:  # processes that they start meanwhile are found in the next round
            _signal(pids, signal.SIGKILL)
        time.sleep(POLL_S)
    return names


def end_orphans(ours: Iterable[int | None]) -> list[str]:
    """Kill the orphans of dead workers, for a consumer whose own processes are `ours` (pids). Returns their names."""
    own = {pid for pid in ours if pid}
    orphans = below(os.getpid(), own)
    names = [name_of(pid) for pid in orphans]
    _signal(orphans, signal.SIGKILL)
    end = time.monotonic() + TERM_S  # a process that cannot be killed (it waits for a disk) must not block the consumer
    for pid in orphans:
        with contextlib.suppress(OSError):  # the child of another orphan becomes ours only at the next call
            while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < end:
                time.sleep(POLL_S)
    return names


def end_marked(worker_id: str, lock: Path) -> list[str]:
    """Kill the processes that a dead worker has left, whatever their parent is now, for the monitor. `lock` is the path
    of the worker's lock file. Returns their names."""
    mark, wanted, found = f"{MARK}={worker_id}\0".encode(), str(lock), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid, environment = int(process.name), (process / "environ").read_bytes() + b"\0"
            if pid != os.getpid() and (mark in environment or _has_open(process, wanted)):
                found.append(pid)
    names = [name_of(pid) for pid in found]
    _signal(found, signal.SIGKILL)
    return names


def _has_open(process: Path, path: str) -> bool:
    return any(os.readlink(entry) == path for entry in (process / "fd").iterdir())


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
