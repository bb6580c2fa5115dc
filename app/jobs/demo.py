"""The job of `flask demo`: it waits, reports its progress and ends in the way asked for. It changes nothing."""

from __future__ import annotations

import os
import signal
import time
from typing import Literal

from huey.exceptions import CancelExecution

from app.execution.job_context import JobContext
from app.jobs.declare import job
from app.registry import LABELS, PermanentError
from app.support.messages import Message

# A demo writes finished jobs of these types, which are not declared.
LABELS.update(ProcessWordPressSync="WordPress Sync", ProcessPrestaShopSync="PrestaShop Sync")
STEP_MS = 200
Ending = Literal["completes", "recovers", "fails", "gives up", "overruns", "loses its worker"]


@job("DemoWork", queue="low", tries=3, backoff=(5, 15), timeout=60, web=False, label="Demo")
def demo_work(ms: int = 100, text: str = "", ending: Ending = "completes", *, ctx: JobContext) -> dict[str, int | str]:
    """Take `ms` milliseconds (60 s at most), with progress and log lines, then end in the way asked for."""
    ms = min(max(ms, 0), 60_000)
    steps = max(ms // STEP_MS, 1)
    if steps > 1:
        ctx.log(Message("Demo begins: %(n)s steps, %(text)s", n=steps, text=text or "–"))
    for step in range(steps):
        time.sleep(ms / steps / 1000)
        if steps > 1:
            ctx.progress(step + 1, steps, text)
            if ctx.cancelled():
                raise CancelExecution(retry=False)
    if ending == "loses its worker" and ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "gives up":
        raise PermanentError(
            Message("The shop refused the sign-in (401). Enter a new application password, then retry."))
    if ending == "fails" or (ending == "recovers" and ctx.attempt == 1):
        ctx.log(Message("The shop did not answer within 30 s"), "WARN")
        raise ConnectionError("the shop does not answer after 30 s")
    if ending == "overruns":
        time.sleep(3600)
    return {"took_ms": ms, "text": text}
