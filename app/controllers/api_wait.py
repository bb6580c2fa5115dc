"""GET /api/jobs/UUID/wait: the answer comes when the job has ended, or when the time is over.

Each wait takes one of the 24 threads of the web, so there are at most 8, and 4 for one token or person; the next one is
answered by 503 with Retry-After. The ledger is read 4 times a second, with no transaction open in between.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from flask import request
from flask_babel import gettext as _

from app.extensions import db
from app.models.job_metric import FINAL
from app.services.jobs import lookup
from app.support.validation import ValidationError

MOST, MOST_EACH = 8, 4
POLL_S, USUAL_S, MOST_S = 0.25, 30.0, 50.0  # proxies give up after 60 s
_waits: Counter[Hashable] = Counter()
_lock = threading.Lock()


@contextmanager
def place(who: Hashable) -> Iterator[bool]:
    """Whether there is room for one more wait of `who`, which is counted inside."""
    with _lock:
        free = _waits.total() < MOST and _waits[who] < MOST_EACH
        _waits[who] += free
    try:
        yield free
    finally:
        with _lock:
            _waits[who] -= free
            if not _waits[who]:
                del _waits[who]


def seconds() -> float:
    """The part `timeout` of the address. Raises ValidationError."""
    text = request.args.get("timeout", "").strip()
    try:
        found = float(text) if text else USUAL_S
    except ValueError:
        found = -1.0
    if not 0 <= found <= MOST_S:
        raise ValidationError(_("timeout is a number of seconds from 0 to %(n)s.", n=int(MOST_S)))
    return found


def until_ended(uuid: str, seconds_: float) -> str | None:
    """The state of a job once it has ended, or as it is when the time is over; None when it is not known."""
    end = time.monotonic() + seconds_
    while (state := lookup.state_of(uuid)) is not None and state not in FINAL:
        left = end - time.monotonic()
        if left <= 0:
            break
        db.session.rollback()
        time.sleep(min(POLL_S, left))
    return state
