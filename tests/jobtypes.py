"""Job types of the tests: in-process ones, and what real workers load through JOB_MODULES=tests.jobtypes."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Literal

from app.extensions import db
from app.jobs import JobContext, PermanentError, UploadedFile, job, recurring
from app.registry import HoldJob


@job("TestNoop", backoff=(0,))
def noop(n: int = 0) -> None:
    return None


@job("TestSleep", tries=1, timeout=30)
def sleep(ms: int = 100) -> dict[str, int]:
    time.sleep(ms / 1000)
    return {"ms": ms}


@job("TestFail", tries=2, backoff=(0,))
def fail(text: str = "on purpose") -> None:
    raise RuntimeError(text)


@job("TestCritical", tries=1, critical=True)
def critical() -> None:
    raise RuntimeError("the till is on fire <!channel> @here")


@job("TestPermanent", tries=3, backoff=(0,))
def permanent() -> None:
    raise PermanentError("The file has no column title.")


@job("TestPaysAndWaits", backoff=(0,))
def pay_and_wait(ctx: JobContext) -> None:
    ctx.record_cost("0.25", model="m")
    raise HoldJob("A person must look at it.")


@job("TestSwallow", tries=1, timeout=1)
def swallow() -> str:
    """Swallows its timeout as a careless loop does."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except Exception:
            continue
    return "finished"


@job("TestExit", tries=1)
def leave() -> None:
    sys.exit(3)


@job("TestSuicide", tries=1, backoff=(0,))
def suicide() -> None:
    """Kills its own worker, as a native crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


@job("TestMemory", tries=1)
def memory(mb: int = 50) -> int:
    block = bytearray(mb * 2**20)
    return len(block)


@job("TestTalk", tries=1)
def talk(lines: int = 3, *, ctx: JobContext) -> str:
    for n in range(lines):
        ctx.log(f"line {n}")
        ctx.progress(n + 1, lines, "talking")
    return f"{ctx.tenant_id} {ctx.attempt}"


@job("TestForm", web=True)
def form(text: str, number: int, kind: Literal["a", "b"], ratio: float = 0.5, flag: bool = False, extra: dict | None = None,
         file: UploadedFile | None = None) -> dict:
    return {"text": text, "number": number, "kind": kind, "file": file.filename if file else None}


@job("TestEcho", tries=1)
def echo(text: str = "") -> str:
    return text


@job("TestWeird", tries=1, timeout=2)
def weird(kind: str):
    """Ends in ways that have cost somebody a job."""
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "sigint":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
    if kind == "swallow and raise":
        end = time.monotonic() + 4
        while time.monotonic() < end:
            try:
                time.sleep(0.1)
            except BaseException:
                continue
        raise ValueError("after my time")
    if kind == "alarm off":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(4)
    return {"surrogate": "a\ud800b", "nan": float("nan"), "not json": {1, 2}}.get(kind)


@job("TestMark", tries=1, timeout=60)
def mark(path: str, n: int, ms: int = 20) -> int:
    """Leaves a line outside the product for each execution that began."""
    with open(path, "a") as file:
        file.write(f"{n}\n")
    time.sleep(ms / 1000)
    return n


@recurring("0 3 1 1 *", name="yearly")
@job("TestYearly", tries=1)
def yearly() -> None:
    return None


_hoard: list[bytes] = []


@job("TestHoard", tries=1)
def hoard(mb: int = 100) -> int:
    """Never gives its memory back."""
    _hoard.append(b"x" * (mb << 20))
    return mb

from tests import hostile_jobs  # noqa: E402,F401  (more types)


@job("TestPair", tries=1, concurrency=1, per="args.shop", backoff=(0,))
def pair(shop: str = "a", path: str = "", ms: int = 0) -> str:
    """At most one at once for each shop; leaves a line when it begins and one when it ends."""
    if path:
        with open(path, "a") as file:
            file.write(f"+ {shop} {time.time()}\n")
    time.sleep(ms / 1000)
    if path:
        with open(path, "a") as file:
            file.write(f"- {shop} {time.time()}\n")
    return shop


@job("TestPairs", tries=3, concurrency=2, per="args.shop", backoff=(0,))
def pairs(shop: str = "a", path: str = "", ms: int = 0) -> None:
    """At most two at once for each shop; each line names its process."""
    for sign in "+-":
        with open(path, "a") as file:
            file.write(f"{sign} {shop} {os.getpid()} {time.time()}\n")
        time.sleep(ms / 1000 if sign == "+" else 0)


@job("TestRate", tries=1, rate="5/10s")
def rated(n: int = 0) -> int:
    return n


@job("TestSum", tries=1)
def total(of: int = 3, *, ctx: JobContext) -> int:
    """Dispatches jobs and waits for them; runs again when they have completed."""
    if not ctx.parents():
        ctx.wait_for(echo.dispatch_many([{"text": str(n)} for n in range(of)]))
    return sum(int(parent["result"]) for parent in ctx.parents())


@job("TestHeirs", tries=1, timeout=60)
def heirs(path: str, n: int, of: int = 3, ms: int = 0, commit: bool = True, *, ctx: JobContext) -> int:
    """Dispatches jobs after itself, once whatever is killed; returns how many ms its progress took meanwhile."""
    if not ctx.children():
        mark.with_options(after=[ctx.uuid]).dispatch_many([{"path": path, "n": n * of + child} for child in range(of)])
        if commit:
            db.session.commit()
    start = time.monotonic()
    ctx.progress(1, 1, "dispatched")
    took = round((time.monotonic() - start) * 1000)
    time.sleep(ms / 1000)
    return took


@job("TestNode", tries=2, backoff=(0,), timeout=60)
def node(path: str, n: int, ms: int = 5, fails: int = 0, spawns: int = 0, parents: int = 0, *, ctx: JobContext) -> int:
    """A node of a random graph: leaves a line when it begins and one when it ends; fails in its first `fails` rounds,
    and waits for `spawns` jobs of its own."""
    with open(path, "a") as file:
        file.write(f"+ {n}\n")
    time.sleep(ms / 1000)
    if ctx.retry_round <= fails:
        raise PermanentError("on purpose")
    if spawns and len(ctx.parents()) == parents:
        ctx.wait_for(sleep.dispatch_many([{"ms": ms}] * spawns))
    with open(path, "a") as file:
        file.write(f"= {n}\n")
    return n


@job("TestFollow", tries=1)
def follow(batch_id: str = "", path: str = "") -> str:
    """What follows a batch."""
    if path:
        with open(path, "a") as file:
            file.write(f"{batch_id}\n")
    return batch_id


@job("TestAlone", tries=1, group=False)
def alone() -> None:
    """A short job that is claimed by itself."""


@job("TestHold", tries=1, timeout=3600)
def hold() -> int:
    """Holds the interpreter: neither the heartbeat nor the alarm of its worker runs meanwhile."""
    return sum(range(10**12))
