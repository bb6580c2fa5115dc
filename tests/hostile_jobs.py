"""Jobs whose own code is hostile: what they raise, return, print, start and store has cost somebody a worker."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import decimal
import gc
import logging
import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

from huey.exceptions import RetryTask
from sqlalchemy import text

from app.extensions import db
from app.jobs import JobContext, TemporaryError, job

_kept: list = []


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Endless(Exception):
    def __str__(self) -> str:
        time.sleep(60)
        return "late"


class Odd:
    def __str__(self) -> str:
        raise ValueError("this object has no text")


@dataclasses.dataclass
class Node:
    name: str
    parent: Node | None = None
    children: list = dataclasses.field(default_factory=list)


def tree(width: int, depth: int, parent: Node | None = None) -> Node:
    node = Node(f"level {depth}", parent)
    node.children = [tree(width, depth - 1, node) for _ in range(width)] if depth else []
    return node


def shared(depth: int = 40) -> list:
    """A list of ten times the same list of ten times the same list ..."""
    value: list = ["leaf"]
    for _ in range(depth):
        value = [value] * 10
    return value


def loop() -> dict:
    value: dict = {"name": "me", "others": [{"n": n} for n in range(1000)]}
    value["self"] = value
    for other in value["others"]:
        other["all"] = value
    return value


RAISES = {
    "retry text": lambda: RetryTask(delay="60"),
    "retry words": lambda: RetryTask(delay="soon"),
    "retry 1e18": lambda: RetryTask(delay=1e18),
    "retry inf": lambda: RetryTask(delay=float("inf")),
    "retry nan": lambda: RetryTask(delay=float("nan")),
    "retry list": lambda: RetryTask(delay=[1]),
    "retry eta": lambda: RetryTask(eta="tomorrow"),
    "retry far": lambda: RetryTask(eta=datetime.datetime.max),
    "retry none": lambda: RetryTask(None),
    "unspeakable": Unspeakable,
    "endless": Endless,
    "huge": lambda: RuntimeError("x" * 200_000_000),
    "surrogate": lambda: RuntimeError("half \ud800 of it, \0 and more"),
    "base": lambda: BaseException("base"),
    "generator": lambda: GeneratorExit("out"),
    "temporary": lambda: TemporaryError("later", delay="soon"),
}
RETURNS = {
    "loop": loop,
    "tree": lambda: tree(6, 6),
    "shared": shared,
    "broad": lambda: list(range(3_000_000)),
    "text": lambda: "é" * 50_000_000,
    "number": lambda: 10**100_000,
    "odd": Odd,
    "keys": lambda: {Odd: 1, (1, 2): 2, b"x": 3},
    "surrogate": lambda: {"a\ud800": "\udfff\0"},
    "ctx": lambda: sys.modules,
}


def _cost(amount: object):
    return lambda ctx: ctx.record_cost(amount)


STORES = {
    "cost 1e30": _cost(1e30),
    "cost nan": _cost(float("nan")),
    "cost words": _cost("twelve"),
    "cost list": _cost([1]),
    "cost below": _cost(-1),
    "cost bool": _cost(True),
    "cost currency": lambda ctx: ctx.record_cost(1, currency=None),
    "cost details": lambda ctx: ctx.record_cost(1, model=object()),
    "progress inf": lambda ctx: ctx.progress(float("inf"), 3),
    "progress 1e30": lambda ctx: ctx.progress(1, 10**30),
    "progress text": lambda ctx: ctx.progress("half"),
    "log level": lambda ctx: ctx.log("text", level=3),
}
GOOD_COSTS = ("12.5", decimal.Decimal("0.000000001"), 3, 0.1)


@job("HostileRaise", tries=2, backoff=(0,), timeout=6)  # "huge" takes 1 to 3 s, "endless" all of it, twice
def hostile_raise(kind: str) -> None:
    raise RAISES[kind]()


@job("HostileReturn", tries=1, timeout=20)
def hostile_return(kind: str):
    return RETURNS[kind]()


@job("HostileStore", tries=1)
def hostile_store(kind: str, *, ctx: JobContext) -> None:
    STORES[kind](ctx)


@job("HostileForge", tries=1)
def hostile_forge(*, ctx: JobContext) -> None:
    """Goes round the checks: an outcome that no column can hold."""
    ctx._costs.append({"nano": 10**40, "currency": "USD"})
    _kept.append(None)


@job("GoodCosts", tries=1)
def good_costs(*, ctx: JobContext) -> None:
    for amount in GOOD_COSTS:
        ctx.record_cost(amount, model="m")


@job("RetryAtOnce", tries=2, backoff=(0,))
def retry_at_once() -> None:
    raise RetryTask(delay=0)


@job("RetryPast", tries=2, backoff=(0,))
def retry_past() -> None:
    raise RetryTask(eta=datetime.datetime.now() - datetime.timedelta(days=1))


@job("StartsOthers", tries=1, timeout=5)
def starts_others(mark: str, end: str) -> str:
    """Starts processes of every kind that sleep, each with `mark` among its arguments, and ends in the way asked for."""
    command = [sys.executable, "-c", "import time; time.sleep(120)", mark]
    subprocess.Popen(command)
    subprocess.Popen(" ".join([sys.executable, "-c", "'import time; time.sleep(120)'", mark]), shell=True)
    subprocess.Popen(["setsid", *command], env={"PATH": os.environ["PATH"]})
    subprocess.run(["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(120)' {mark} & "], check=True)  # twice forked
    multiprocessing.get_context("fork").Process(target=_sleep_as, args=(mark,)).start()
    if end == "timeout":
        time.sleep(60)
    if end == "fail":
        raise RuntimeError("on purpose")
    if end == "sleep":
        while True:
            try:
                time.sleep(1)
            except BaseException:
                continue
    return end


def _sleep_as(mark: str) -> None:
    os.write(os.open(f"/proc/{os.getpid()}/comm", os.O_WRONLY), mark[-15:].encode())
    time.sleep(120)


def square(n: int) -> int:
    print("in a pool", n)
    return n * n


@job("UsesPools", tries=1, timeout=60)
def uses_pools() -> list[int]:
    with multiprocessing.Pool(2) as pool:
        first = sum(pool.map(square, range(10)))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        second = pool.apply(square, (3,))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        third = sum(pool.map(square, range(4)))
    return [first, second, third]


@job("ForksOn", tries=1)
def forks_on(how: str) -> int:
    """A copy of the worker that runs on through the product's own code."""
    if os.fork() == 0:
        if how == "raise":
            raise RuntimeError("in the copy")
        if how == "exit":
            sys.exit(3)
        return 0
    time.sleep(0.3)
    return 1


@job("Talks", tries=1)
def talks(lines: int = 1) -> None:
    for n in range(lines):
        print("printed", n)
    print("password='hunter22'", file=sys.stderr)
    print("without a line break", end="")
    warnings.warn("old ways", UserWarning, stacklevel=1)
    logging.getLogger("myteam.jobs").info("logged %s", "well")
    logging.getLogger("myteam.jobs").debug("not this")
    try:
        raise ValueError("told")
    except ValueError:
        logging.getLogger("myteam.jobs").exception("caught")


@job("TalksAside", tries=1, capture=False)
def talks_aside() -> None:
    print("printed aside")
    logging.getLogger("myteam.jobs").warning("logged aside")


@job("LeavesAMess", tries=1)
def leaves_a_mess() -> None:
    os.chdir("/")
    os.umask(0)
    os.environ["LEFT"] = "here"
    os.environ.pop("DATA_DIR", None)
    sys.stdout.close()
    sys.stdout = None
    sys.stderr = open(os.devnull, "w")
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.setrecursionlimit(150)
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    connection = db.engine.connect()
    connection.execute(text("INSERT INTO meta (key, value, at_ms) VALUES ('left open', '1', 1)"))
    _kept.append(connection)
    threading.Thread(target=time.sleep, args=(600,)).start()


@job("LooksAround", tries=1)
def looks_around() -> dict:
    print("seen")
    umask = os.umask(0o077)
    return {"recursion": sys.getrecursionlimit(), "gc": gc.isenabled(), "limit": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "folder": os.getcwd(), "umask": umask, "left": os.environ.get("LEFT"), "data": "DATA_DIR" in os.environ}


@job("SpeaksAndSleeps", tries=1)
def speaks_and_sleeps() -> None:
    print("first")
    print("second")
    time.sleep(15)


def _say(ctx: JobContext, n: int) -> None:
    ctx.log(f"from process {n}")


@job("ForksAndSays", tries=1, timeout=20)
def forks_and_says(*, ctx: JobContext) -> None:
    """Processes of a job write to its log too."""
    processes = [multiprocessing.get_context("fork").Process(target=_say, args=(ctx, n)) for n in range(8)]
    for n, process in enumerate(processes):
        process.start()
        ctx.log(f"started {n}")
    for process in processes:
        process.join()


class EvilMeta(type):
    """A class that answers no question about itself."""

    @property
    def __name__(cls):
        raise RuntimeError("no name")

    @property
    def __module__(cls):
        raise RuntimeError("no module")


class EvilClass(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


class EvilAttributes(Exception):
    def __getattribute__(self, name):
        raise SystemExit("no attribute")


EVIL = {"meta": EvilMeta("Evil", (Exception,), {}), "class": EvilClass, "attributes": EvilAttributes}


@job("HostileClass", tries=1)
def hostile_class(kind: str) -> None:
    raise EVIL[kind]("said")


@job("KillsItsGroup", tries=1)
def kills_its_group() -> None:
    os.killpg(0, signal.SIGKILL)


@job("DeletesItsRow", tries=1)
def deletes_its_row(*, ctx: JobContext) -> str:
    db.session.execute(text("DELETE FROM jobs WHERE uuid = :u"), {"u": ctx.uuid})
    return "deleted"


@job("LimitsItsFiles", tries=1, timeout=10)
def limits_its_files() -> str:
    print("before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    logging.getLogger("myteam.jobs").warning("under the limit")
    return "limited"


@job("EndsWorker", tries=1)
def ends_worker(code: int) -> None:
    """Ends its worker with an exit code of its own."""
    os._exit(code)


@job("TakesFiles", tries=1, timeout=20)
def takes_files(how: str, path: str) -> str:
    """Closes or replaces every descriptor of its worker, as a library that makes a daemon does, and goes on writing."""
    if how == "close":
        os.closerange(3, 1024)
    elif how == "reuse":
        os.closerange(3, 1024)
        _kept.extend(open(f"{path}-{n}", "wb", buffering=0) for n in range(40))
    else:
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3, 60):
            if number != null:
                os.dup2(null, number)
    print("still here")
    if how == "session":
        db.session.execute(text("UPDATE meta SET at_ms = at_ms"))
    time.sleep(1.5)
    return how


@job("KeepsTheLock", tries=1)
def keeps_the_lock(path: str) -> str:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    _kept.append(connection)
    return "kept"


@job("PatchesJson", tries=1)
def patches_json() -> None:
    import json

    json.dumps = lambda *a, **k: 1 / 0
