"""The monitor's hourly study of capacity, in a process of its own: reading and replaying days takes seconds.

due -> `flask capacity --store`, niced, one at a time, never waited for -> the fact `capacity` of `meta`
It ends with the monitor, and after KILL_S. What went wrong stays the error of the duty until a study succeeds.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from app.config import ROOT
from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.forecast.capacity import FACT, STUDY_OF
from app.support.clock import HOUR_MS
from app.support.messages import Message
from app.support.redaction import one_line, redact

FIRST_S, EVERY_S, KILL_S = 60.0, 3600.0, 300.0
COMMAND = (sys.executable, "-m", "flask", "--app", "wsgi", "capacity", "--store")
_SECRETS = ("ALERT_URLS", "HEARTBEAT_URL")  # of the monitor, which a study does not need


class Studies:
    """Starts the studies of one monitor; `monotonic` is its clock in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, command: tuple[str, ...] = COMMAND) -> None:
        self.monotonic, self.command = monotonic, command
        self.child: subprocess.Popen[bytes] | None = None
        self.next, self.started, self.error = math.inf, 0.0, ""

    def begin(self) -> None:
        """From now on studies are made, the first after FIRST_S. Without it (`monitor --once`) none is."""
        self.next = self.monotonic() + FIRST_S

    def run(self, connection: Connection) -> None:
        """Start a study that is due, or look at the one that runs. Raises RuntimeError with what went wrong last."""
        if self.child:
            self._look(self.child)
        elif self.monotonic() >= self.next:
            self.next = self.monotonic() + EVERY_S
            kept = counts.load(connection, FACT)
            if kept is None or kept[1] > HOUR_MS / 2:  # else another monitor has studied
                self._start()
        if self.error:
            raise RuntimeError(self.error)

    def _start(self) -> None:
        env = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        self.said, self.started = tempfile.TemporaryFile(), self.monotonic()
        self.child = subprocess.Popen(self.command, cwd=ROOT, env=env | {STUDY_OF: str(os.getpid())},
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.said)

    def _look(self, child: subprocess.Popen[bytes]) -> None:
        code = child.poll()
        if code is None and self.monotonic() - self.started < KILL_S:
            return
        self.stop()
        self.said.seek(0)
        lines = self.said.read(20_000).decode(errors="replace").split("\n")
        last = one_line(redact(next((line for line in reversed(lines) if line.strip()), "")), 200)
        late = Message("took longer than %(n)s s", n=round(KILL_S))
        self.error = late if code is None else Message("ended with %(n)s: %(why)s", n=code, why=last) if code else ""
        self.said.close()

    def stop(self) -> None:
        """End the study that runs, if there is one."""
        if self.child:
            self.child.kill()
            self.child.wait()
            self.child = None
