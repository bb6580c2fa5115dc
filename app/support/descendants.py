"""The processes that a job starts: they end with it on every way out but "completed", and with their worker at the latest.

Linux gives an orphan to the nearest ancestor that asked for orphans (PR_SET_CHILD_SUBREAPER), so that even a daemon that
forked twice stays in sight. Worker and consumer ask for them:

job ended in its worker        the worker ends what is left below it (`end_all`); of a completed job it says what runs on
worker killed (timeout, "Stop now", kill, crash)   its orphans come to the consumer, which ends them (`end_orphans`)
consumer killed too            the monitor, when it buries the worker: by the mark in their environment, and by the worker's
                               lock file, which a fork without exec keeps open (`end_marked`)

What a job starts can leave all this only by dropping its environment while everything above it is being killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from app.support.process import become_subreaper

MARK = "AINSTEIN_WORKER"  # an environment variable with the worker's id
POLITE_S, MOST_S, LOOK_S = 1.0, 5.0, 0.02


def adopt(worker_id: str = "") -> None:
    """Orphans below this process come to it; what it starts carries the mark of the worker."""
    become_subreaper()
    if worker_id:
        os.environ[MARK] = worker_id


def running() -> dict[int, int]:
    """Parent's pid of each process that runs, by pid; without zombies. 2 ms for 100 processes; empty where there is no /proc."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            if state not in "ZX":
                found[int(process.name)] = int(parent)
    return found


def any_left() -> bool:
    """Whether this process has a child at all: one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def below(ancestor: int, spare: Iterable[int] = ()) -> list[int]:
    """Descendants of a process that run, but for those in `spare` and what is below them."""
    parents, found, edge = running(), [], {ancestor}
    while edge := {pid for pid, parent in parents.items() if parent in edge and pid not in spare}:
        found += sorted(edge)
    return found


tolerated: set[int] = set()  # what completed jobs have left running


def left() -> list[int]:
    """Descendants of this process that run, but for the tolerated and Python's own helpers of multiprocessing. Those that have
    ended are reaped."""
    helpers = _helpers()
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in helpers:
            os.waitpid(ended.si_pid, os.WNOHANG)
    tolerated.intersection_update(running() if tolerated else ())
    return below(os.getpid(), helpers | tolerated)


def tolerate() -> list[str]:
    """Let what is left run on until the worker ends; returns the names."""
    pids = left()
    tolerated.update(pids)
    return [name_of(pid) for pid in pids]


def _helpers() -> set[int]:
    """The tracker of shared resources and the fork server, which multiprocessing starts once and keeps."""
    found = set()
    for module, name, attribute in (("resource_tracker", "_resource_tracker", "_pid"), ("forkserver", "_forkserver", "_forkserver_pid")):
        helper = getattr(sys.modules.get(f"multiprocessing.{module}"), name, None)
        if pid := getattr(helper, attribute, None):
            found.add(pid)
    return found


def name_of(pid: int) -> str:
    """'sleep (4711)'."""
    with contextlib.suppress(OSError):
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})"
    return str(pid)


def end_all() -> list[str]:
    """End all descendants: SIGTERM, a second, SIGKILL until none is left. Returns the names of those that ran."""
    names = [name_of(pid) for pid in left()]
    if not names:
        return []
    polite, most = time.monotonic() + POLITE_S, time.monotonic() + MOST_S
    _signal(left(), signal.SIGTERM)
    while (pids := left()) and time.monotonic() < most:
        if time.monotonic() > polite:  # a process that starts others meanwhile is met again in the next round
            _signal(pids, signal.SIGKILL)
        time.sleep(LOOK_S)
    return names


def end_orphans(ours: Iterable[int | None]) -> list[str]:
    """For a consumer: kill what came to it from workers that are gone; `ours` are the pids of its own processes. Returns the names."""
    own = {pid for pid in ours if pid}
    orphans = below(os.getpid(), own)
    names = [name_of(pid) for pid in orphans]
    _signal(orphans, signal.SIGKILL)
    end = time.monotonic() + POLITE_S  # one that cannot be killed (waiting for a disk) must not keep the consumer
    for pid in orphans:
        with contextlib.suppress(OSError):  # not ours when it was the child of another orphan: then it comes to us next time
            while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < end:
                time.sleep(LOOK_S)
    return names


def end_marked(worker_id: str, lock: Path) -> list[str]:
    """For the monitor: kill what a worker that is gone has left, wherever it hangs now. Returns the names."""
    mark, wanted, found = f"{MARK}={worker_id}\0".encode(), str(lock), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and (mark in (process / "environ").read_bytes() + b"\0" or _holds(process, wanted)):
                found.append(int(process.name))
    names = [name_of(pid) for pid in found]
    _signal(found, signal.SIGKILL)
    return names


def _holds(process: Path, path: str) -> bool:
    return any(os.readlink(entry) == path for entry in (process / "fd").iterdir())


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
