"""How much memory and processor time this machine, or the container in which the process runs, has left.

psutil, and the files of the control group: version 2 with all groups above, version 1 with the group that is mounted.
A file that is missing or says "max" is no bound.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from app.support.process import proc_stat

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _number(path: Path) -> int | None:
    """The first number of a file; None when it is missing or has none there."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _entry(path: Path, name: str) -> int:
    """A value of a file of `name value` lines; 0 when it is missing."""
    try:
        return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name + " ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


class Machine:
    """Reads the machine; `root` and `own` are the control groups' folder and the file that names the own group."""

    def __init__(self, root: Path = ROOT, own: Path = OWN) -> None:
        self.root, self.own = root, own
        self._used: tuple[float, int] | None = None
        self._times = psutil.cpu_times()
        self.busy()

    def _groups(self) -> list[Path]:
        """The folders of the own group and of those above it, version 2."""
        try:
            name = next(line[3:] for line in self.own.read_text().splitlines() if line.startswith("0::"))
        except (OSError, StopIteration):
            name = "/"
        own = self.root / name.strip("/")
        return [folder for folder in (own, *own.parents) if folder.is_relative_to(self.root)]

    def memory(self) -> tuple[int, int]:
        """(free, total) in bytes. Files in the cache of a group count as free when they were not used of late."""
        machine = psutil.virtual_memory()
        free, total = machine.available, machine.total
        old, older = self.root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        for folder, names in ((old, older), *((group, ("memory.max", "memory.current", "inactive_file"))
                                              for group in self._groups())):
            most, used = (_number(folder / name) for name in names[:2])
            if most is not None and used is not None and most < total:
                free, total = min(free, max(most - used + _entry(folder / "memory.stat", names[2]), 0)), most
        return free, total

    def computing(self, parent: int) -> int:
        """How many processes below `parent`, without this one, compute or wait for the processor only."""
        try:
            below = psutil.Process(parent).children(recursive=True)
        except psutil.Error:
            return 0
        return sum(proc_stat(child.pid)[:1] == ["R"] for child in below if child.pid != os.getpid())

    def busy(self) -> float:
        """The busy share (0 to 1) of the processor since the call before: of the machine, or of what a group may use
        (cpu.max), whichever is higher."""
        share, now = self._share(), time.monotonic()
        for group in self._groups():
            try:
                quota, period = (group / "cpu.max").read_text().split()
                cores = int(quota) / int(period)
            except (OSError, ValueError):
                continue
            used, before = _entry(group / "cpu.stat", "usage_usec"), self._used
            self._used = now, used
            if before and now > before[0]:
                share = max(share, (used - before[1]) / 1e6 / (now - before[0]) / cores)
            break  # the nearest bound
        return min(share, 1.0)

    def _share(self) -> float:
        """The busy share of the machine since the call before. psutil.cpu_percent keeps one such time for the whole
        process: two readers would shorten each other's."""
        before, self._times = self._times, psutil.cpu_times()
        passed = [max(now - then, 0) for now, then in zip(self._times, before, strict=True)][:8]  # then guests, in user
        return 1 - (passed[3] + passed[4]) / sum(passed) if sum(passed) else 0.0  # idle, and waiting for a disk
