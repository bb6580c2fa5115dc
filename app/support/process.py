"""What every program of ours does with its own process: identity, parent, private files."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import signal
import socket
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@cache
def boot_id() -> str:
    """Kernel's id of this boot; the host name where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"host-{socket.gethostname()}"


@cache
def namespace() -> str:
    """Inode of the pid namespace: pids mean something only inside it."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def cpu_ticks(pid: int) -> int | None:
    """CPU time used by a process in clock ticks; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether the process is frozen by a signal or a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def identity(folder: Path) -> str:
    """Boot, namespace, pid, start time, a nonce and the folder of its lock: never the same twice (a pid can be)."""
    pid = os.getpid()
    return f"{boot_id()[:8]}-{namespace()}-{pid}-{start_ticks(pid) or 0}-{secrets.token_hex(4)}-{folder_id(folder)}"


def folder_id(folder: Path) -> str:
    """Device and inode: the same folder, whatever its path is called here."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    return f"{found.st_dev:x}.{found.st_ino:x}"


def same_boot(worker_id: str) -> bool:
    """Whether the process of an identity ran on this kernel since it booted."""
    return worker_id.split("-")[0] == boot_id()[:8]


def is_here(worker_id: str) -> bool:
    """Whether the pid in an identity means something to this process: same boot, same pid namespace."""
    parts = worker_id.split("-")
    return len(parts) >= 4 and same_boot(worker_id) and parts[1] == namespace()


def has_ended(worker_id: str) -> bool:
    """Whether the process that an identity names is known to have ended; False where this process cannot know.

    No such pid, a zombie, or a pid that another process has now (it started at another time).
    """
    if not is_here(worker_id):
        return False
    pid, ticks = worker_id.split("-")[2:4]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        pass  # another user's: it exists
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return False
    return fields[0] in "ZX" or fields[19] != ticks


def kill_if_same(worker_id: str, signum: int) -> bool:
    """Signal the process an identity names, if that very process still runs here."""
    if not is_here(worker_id):
        return False
    pid, ticks = worker_id.split("-")[2:4]
    if start_ticks(int(pid)) != int(ticks):
        return False
    try:
        os.kill(int(pid), signum)
    except OSError:
        return False
    return True


def die_with_parent(parent: int | None = None, signum: int = signal.SIGKILL) -> None:
    """End when the parent ends; `parent` is the pid expected (a parent already gone ends us now)."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    except (OSError, AttributeError):
        return  # not Linux: the loops check the parent's pid
    if parent is not None and os.getppid() != parent:
        os._exit(0)


def become_subreaper() -> None:
    """Orphans among the descendants of this process become its children (Linux; elsewhere nothing happens)."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` in `folder`; None when it is no plain name, or leads out of the folder (by a link, say). For
    every name that comes from a row or an archive."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        return None
    path = folder / name
    try:
        return path if path.resolve().parent == folder.resolve() else None
    except (OSError, RuntimeError):  # a loop of links
        return None


def hold_lock(path: Path) -> int:
    """Take an exclusive record lock for the life of this process; the descriptor is returned.

    Raises BlockingIOError when another process holds it. POSIX record locks are not
    inherited by fork and end with the process, even a killed one.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BlockingIOError(str(path)) from None
    return descriptor


def lock_state(path: Path) -> str:
    """'held', 'free' (the file is there and nobody holds its lock) or 'missing', which proves nothing."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "held"
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "free"
    except OSError:
        return "held"
    finally:
        os.close(descriptor)
