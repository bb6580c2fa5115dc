"""Free space on the disk of DATA_DIR. Below 5 % new work is refused. Below 2 % a reserve file is deleted.

On a full disk deletes fail too, because SQLite writes them to its WAL. The space of the reserve file lets workers write
outcomes and lets the monitor clean up until somebody frees space. Each dispatch, upload and export checks the free
space with `statvfs`, which takes 1 microsecond.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from app.support.messages import translate as _
from app.support.settings import settings
from app.support.validation import ValidationError

LOW, FULL, AGAIN = 0.05, 0.02, 0.06
RESERVE_BYTES = 32 * 2**20


class DiskLow(ValidationError):
    """The disk has no space for new work; the web answers 507."""


def free_share(folder: Path) -> float:
    """Free share (0 to 1) of the folder's disk for this user; 1 when the disk cannot be read."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return 1.0
    return room.f_bavail / room.f_blocks if room.f_blocks else 1.0


def require_room() -> None:
    """Raises DiskLow when less than 5 % is free."""
    if free_share(settings().data_dir) < LOW:
        raise DiskLow(_("Disk nearly full: new jobs are refused. Queued ones go on. Free some space."))


def free_reserve(folder: Path) -> None:
    """Delete the reserve file, so that its space can be used now; the monitor creates it again above 6 %."""
    with contextlib.suppress(OSError):
        (folder / "reserve").unlink(missing_ok=True)


def keep_reserve(folder: Path) -> str:
    """Delete the reserve file below 2 % and create it again above 6 %. Returns "ok", "low" (below 5 %) or "full"."""
    share, reserve = free_share(folder), folder / "reserve"
    if share < FULL:
        reserve.unlink(missing_ok=True)
        return "full"
    if share > AGAIN and not reserve.exists():
        size = min(RESERVE_BYTES, os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize // 100)
        with contextlib.suppress(OSError), open(os.open(reserve, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
    return "low" if share < LOW else "ok"
