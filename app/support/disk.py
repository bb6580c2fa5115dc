"""Room on the disk of DATA_DIR: below 5 % new work is refused, below 2 % a reserve file is freed so that outcomes can be written.

A full disk fails deletes too (SQLite writes a WAL for them), so the reserve is what lets workers settle and the monitor
clean up until somebody frees space. Judged by `statvfs` at each dispatch, upload and export: 1 microsecond.
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
    """No room for new work: 507 on the web."""


def free_share(folder: Path) -> float:
    """Free of all bytes for us on the folder's disk, 0 to 1."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return 1.0
    return room.f_bavail / room.f_blocks if room.f_blocks else 1.0


def require_room() -> None:
    """Raise DiskLow below 5 %."""
    if free_share(settings().data_dir) < LOW:
        raise DiskLow(_("Disk nearly full: new jobs are refused. Queued ones go on. Free some space."))


def free_reserve(folder: Path) -> None:
    """Give the reserve's room to what must be written now; the monitor makes it again above 6 %."""
    with contextlib.suppress(OSError):
        (folder / "reserve").unlink(missing_ok=True)


def keep_reserve(folder: Path) -> str:
    """Free the reserve below 2 %, make it again above 6 %; returns ok, low or full."""
    share, reserve = free_share(folder), folder / "reserve"
    if share < FULL:
        reserve.unlink(missing_ok=True)
        return "full"
    if share > AGAIN and not reserve.exists():
        size = min(RESERVE_BYTES, os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize // 100)
        with contextlib.suppress(OSError), open(os.open(reserve, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
    return "low" if share < LOW else "ok"
