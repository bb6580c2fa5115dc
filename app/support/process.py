"""Processes of this product: identity, state, parent, and lock files."""

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
    """The kernel's id of this boot; where there is none, one made from the host name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"host-{socket.gethostname()}"


@cache
def namespace() -> str:
    """Inode of the pid namespace, as text: a pid has a meaning only inside its namespace. '0' where it is not known."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


def proc_stat(pid: int | str) -> list[str]:
    """Fields of /proc/PID/stat from the state on (the third field in proc(5)); [] when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone."""
    fields = proc_stat(pid)
    return int(fields[19]) if fields else None


def cpu_ticks(pid: int) -> int | None:
    """CPU time that a process has used, in clock ticks; None when it is gone."""
    fields = proc_stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else None


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process."""
    return proc_stat(pid)[:1] in (["T"], ["t"])


def identity(folder: Path) -> str:
    """A unique id of this process, which a pid is not: boot-namespace-pid-start-nonce-folder (of its lock file)."""
    pid = os.getpid()
    return f"{boot_id()[:8]}-{namespace()}-{pid}-{start_ticks(pid) or 0}-{secrets.token_hex(4)}-{folder_id(folder)}"


def folder_id(folder: Path) -> str:
    """Device and inode of a folder, which is created when missing: the same id for every path to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    return f"{found.st_dev:x}.{found.st_ino:x}"


def same_boot(worker_id: str) -> bool:
    """Whether the process of an identity was started in the current boot of this machine."""
    return worker_id.split("-")[0] == boot_id()[:8]


def is_here(worker_id: str) -> bool:
    """Whether the pid of an identity is valid in this process: same boot, same pid namespace. False for what is no
    identity, such as the bytes that another program wrote into a row."""
    parts = worker_id.split("-") if isinstance(worker_id, str) else []
    return (len(parts) >= 4 and same_boot(worker_id) and parts[1] == namespace()
            and parts[2].isdecimal() and parts[3].isdecimal())


def has_ended(worker_id: str) -> bool:
    """Whether the process of an identity is known to have ended: its pid is free, a zombie, or belongs to a process
    that started at another time. False where this process cannot know."""
    if not is_here(worker_id):
        return False
    pid, ticks = worker_id.split("-")[2:4]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        pass  # the process of another user: it exists
    fields = proc_stat(pid)
    return bool(fields) and (fields[0] in "ZX" or fields[19] != ticks)


def kill_if_same(worker_id: str, signum: int) -> bool:
    """Send a signal to the process of an identity, if exactly that process still runs here; whether it was sent."""
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


def _prctl(option: int, value: int) -> bool:
    """prctl(2); False where it does not exist."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return True


def die_with_parent(parent: int | None = None, signum: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent ends. `parent` is the expected pid: when the parent has already
    gone, this process ends now. Outside Linux nothing happens, and the loops check the parent's pid."""
    if _prctl(PR_SET_PDEATHSIG, signum) and parent is not None and os.getppid() != parent:
        os._exit(0)


def become_subreaper() -> None:
    """Make orphans among the descendants of this process its children (Linux; elsewhere nothing happens)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` in `folder`; None when `name` is not a plain file name or leads out of the folder, for example
    by a symbolic link. Names from a row or an archive must pass through it."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        return None
    path = folder / name
    try:
        return path if path.resolve().parent == folder.resolve() else None
    except (OSError, RuntimeError):  # a loop of links
        return None


def hold_lock(path: Path) -> int:
    """Take an exclusive record lock until this process ends; returns the file descriptor. Raises BlockingIOError when
    another process holds it. A POSIX record lock is not inherited by fork and ends with its process, even a killed
    one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BlockingIOError(str(path)) from None
    return descriptor


def lock_state(path: Path) -> str:
    """'held', 'free' (the file exists and nobody holds its lock) or 'missing' (no file, which proves nothing)."""
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
