"""`flask demo`: weeks of lifelike work, marked as a demo's; no outside connection is ever opened.

history: outcomes of 30 days, drawn by the hour of the day, with attempts that were retried, lost or
timed out, and failures that wait for a decision. queue: rows of every live state, and real `DemoWork`
jobs that the workers run to every kind of end. Every row bears `created_by` or `metadata` of a demo,
by which `--remove` finds it.
"""

from __future__ import annotations

import json
import random
import time
import uuid as uuids
from collections.abc import Iterator
from typing import Any

from app import registry
from app.config import Settings
from app.extensions import db
from app.integrations import openai_text
from app.ledger import rollups
from app.ledger.dialect import Connection
from app.ledger.rows import FAILED, HISTORY, METRIC, NEW_JOB, insert
from app.services.instance.retention import KEEP_DAYS
from app.services.jobs.dispatch import payload
from app.support.clock import DAY_MS, stamp

MARK = json.dumps({"demo": True})
STEP, DAYS, KEPT_FAILED = 5000, 30, 40
# type, share of the traffic, mean run time in ms, share that fails, telling argument
TYPES = (
    ("ProcessContentGeneration", 0.48, 9_000, 0.02, "prompt", ("Pompe di calore: domande frequenti", "Vini dell'Etna", "Solare termico")),
    ("ProcessWordPressSync", 0.24, 1_800, 0.01, "article", ("articolo 3.118", "articolo 3.101", "articolo 3.099")),
    ("ProcessCsvImport", 0.13, 4_000, 0.01, "file", ("listino-autunno-2026.csv", "fornitori-2026.csv", "clienti-ottobre.csv")),
    ("ProcessPrestaShopSync", 0.10, 2_500, 0.03, "products", ("240 prodotti", "12 prodotti")),
    ("ProcessBulkContentGeneration", 0.05, 40_000, 0.03, "topics", ("12 argomenti", "40 argomenti")),
)
MODELS = ("gpt-4o-mini", "gpt-4o", "fake-slow", "fake-length", "fake-refusal", "fake-429", "fake-flaky"), (50, 20, 15, 4, 4, 4, 3)
TENANTS = ("acme", "bottega-nord", "ferramenta-rossi", "lumen", "verde-casa", None)
ERRORS = ("ConnectTimeout: the shop does not answer after 30 s", "RateLimitError: 429, limit of requests reached", "KeyError: 'meta_description'",
          "PermissionError: 401, the application password was revoked")
TRACEBACK = """Traceback (most recent call last):
  File "app/jobs/demo.py", line 36, in demo_work
    raise ConnectionError("the shop does not answer after 30 s")
{error}"""

_OF_A_JOB = {"job_type": ":type", "tenant_id": ":tenant"}
_OF_AN_ATTEMPT = _OF_A_JOB | {"round": "1", "claim_no": ":n"}
_OPTIONS = {"tries": "3", "backoff": "'60,300,1800'", "timeout": "300", "durable": "0", "created_by": "'demo'"}
_METRIC = insert(
    "job_metrics", METRIC, **_OF_AN_ATTEMPT, attempts=":n", processing_time=":ms", wait_ms=":wait",
    memory_used=":memory", error_message=":error", error_json="NULL", metadata=":mark", started_at=":started",
    completed_at=":at", created_at=":at")
_HISTORY = insert(
    "job_history", HISTORY, error_json="NULL", **_OF_AN_ATTEMPT, attempts=":n", tries="3", created_by="'demo'",
    created_ms=":created", finished_ms=":finished")
_FAILED = insert(
    "failed_jobs", FAILED, error_json="NULL", **_OF_AN_ATTEMPT, **_OPTIONS, connection="'sqlite'", exception=":traceback",
    failed_at=":at", created_ms=":created")
_JOB = insert(
    "jobs", [*NEW_JOB, "reason", "hold_code"], **_OF_A_JOB, **_OPTIONS, attempts="0", available_at=":at / 1000",
    created_at=":now / 1000", created_ms=":now", available_ms=":at", retry_until_ms=":now + 86400000", hold_code=":code")


class NotEmpty(Exception):
    """The database holds rows that are not a demo's."""


def fill(settings: Settings, metrics: int, pending: int, mix: bool) -> int:
    """Write `metrics` outcomes over 30 days with their rollups, and `pending` ready jobs; returns how many rows."""
    connection = Connection(settings.database_url, wait_s=30)
    check_empty(connection, mix)
    chance = random.Random()  # noqa: S311 (lifelike, not secret)
    ends, attempts = [], []
    for end, before in _history(chance, metrics, connection.now()):
        ends.append(end)
        attempts += [*before, end]
    for start in range(0, len(attempts), STEP):
        with connection.transaction() as tx:
            tx.execute_many(_METRIC, attempts[start : start + STEP])
            tx.execute_many(_HISTORY, ends[start : start + STEP])
    with connection.transaction() as tx:
        open_ = [row for row in ends if row["status"] in ("failed", "timeout")][-KEPT_FAILED:]
        tx.execute_many(_FAILED, open_)
    while rollups.advance(connection):
        pass
    for start in range(0, pending, STEP):
        with connection.transaction() as tx:
            tx.execute_many(_JOB, [_live(chance, tx.now()) for _ in range(min(STEP, pending - start))])
    return metrics + pending


def check_empty(connection: Connection, mix: bool) -> None:
    if not mix and connection.fetch_all("SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE created_by IS NULL OR created_by <> 'demo') "
                                  "OR EXISTS (SELECT 1 FROM job_history WHERE created_by IS NULL OR created_by <> 'demo')"):
        raise NotEmpty("This database holds other jobs. Use an empty DATA_DIR for a demo, or --mix to add demo rows here.")


def _history(chance: random.Random, count: int, now: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Final outcomes, oldest first, each with the outcomes of its earlier attempts; `count` outcomes in all."""
    ages = sorted((chance.random() ** 1.3 * DAYS * DAY_MS for _ in range(count)), reverse=True)
    weights, left = [t[1] for t in TYPES], 0
    for age in ages:
        if left:  # an earlier attempt took this outcome's place
            left -= 1
            continue
        name, _, mean, fails, argument, texts = chance.choices(TYPES, weights)[0]
        finished, tenant = int(now - age), chance.choice(TENANTS)
        luck = chance.random()
        status = "completed" if luck >= fails else chance.choice(("failed", "failed", "failed", "timeout", "cancelled"))
        earlier = ["retried", "retried"] if status == "failed" else chance.choices(([], ["retried"], ["lost"]), (0.96, 0.035, 0.005))[0]
        uuid, queue = str(uuids.UUID(int=chance.getrandbits(128), version=4)), chance.choice(("default", "default", "low", "high"))
        error = chance.choice(ERRORS)
        common = {"uuid": uuid, "type": name, "tenant": tenant, "queue": queue, "mark": MARK}
        rows, at = [], finished
        for n, outcome in reversed(list(enumerate([*earlier, status], 1))):
            ms, wait = int(mean * chance.lognormvariate(-0.2, 0.6)), int(chance.expovariate(1 / 4000))
            rows.append(common | {
                "n": n, "worker": f"demo_{chance.randint(1, 3)}", "status": outcome, "ms": ms, "wait": wait,
                "memory": chance.randint(70, 190) * 2**20,
                "error": {"completed": None, "cancelled": "Cancelled by demo.", "lost": "its process is gone", "timeout": "timeout after 300 s"}.get(
                    outcome, error), "started": stamp(at - ms), "at": stamp(at),
            })
            at -= ms + wait + (60_000 if n > 1 else 0)
        end = rows[0] | {
            "payload": payload(uuid, name, {argument: chance.choice(texts)}, tenant, queue), "created": at, "finished": finished,
            "result": json.dumps({"ok": True}) if status == "completed" else None,
            "traceback": TRACEBACK.format(error=rows[0]["error"]) if status in ("failed", "timeout") else None,
        }
        left = len(earlier)
        yield end, rows[:0:-1]


def _live(
    chance: random.Random, now: int, state: str = "pending", name: str = "DemoWork", in_ms: int = 0, reason: str | None = None
) -> dict[str, Any]:
    uuid, tenant = str(uuids.UUID(int=chance.getrandbits(128), version=4)), chance.choice(TENANTS)
    text = payload(uuid, name, {"ms": chance.randint(5, 400)} if name == "DemoWork" else {"subject": "Novembre"}, tenant, "low")
    return {"uuid": uuid, "queue": "low", "tenant": tenant, "now": now, "at": now + in_ms, "payload": text, "state": state, "type": name,
            "reason": reason, "code": "person" if state == "held" else None}


def every_state(settings: Settings) -> int:
    """Rows that stay where they are: scheduled, held and blocked; returns how many."""
    connection, chance = Connection(settings.database_url, wait_s=30), random.Random()  # noqa: S311
    with connection.transaction() as tx:
        rows = [_live(chance, tx.now(), "scheduled", in_ms=chance.randint(5, 90) * 60_000) for _ in range(4)]
        rows += [_live(chance, tx.now(), "held", reason="Held by demo.") for _ in range(2)]
        rows += [_live(chance, tx.now(), "blocked", "ProcessNewsletter", reason="No job type ProcessNewsletter is known here. Deploy the code "
                                                                                 "that declares it, or delete the job.")]
        tx.execute_many(_JOB, rows)
    return len(rows)


def traffic(seconds: float, a_second: float = 2.0) -> int:
    """Dispatch `DemoWork` jobs of every ending for `seconds`, and texts when OPENAI_BASE_URL is a development server;
    returns how many."""
    chance, end, sent = random.Random(), time.monotonic() + seconds, 0  # noqa: S311
    work = registry.find("DemoWork")
    endings = ("completes", "recovers", "fails", "gives up", "overruns", "loses its worker")
    while work is not None and (sent < len(endings) or time.monotonic() < end):
        ending = endings[sent] if sent < len(endings) else chance.choices(endings, (88, 5, 3, 2, 1, 1))[0]
        text = chance.choice(chance.choice(TYPES)[5])
        options = {"tenant_id": chance.choice(TENANTS), "queue": chance.choice(("high", "default", "low")), "created_by": "demo"}
        sized = work.with_options(**options, timeout=5 if ending == "overruns" else 60)
        sized.dispatch(ms=chance.choice((80, 300, 900, 4000)), text=text, ending=ending)
        if openai_text.is_local() and sent % 3 == 0:
            registry.find("ProcessContentGeneration").with_options(**options).dispatch(prompt=text, model=chance.choices(*MODELS)[0])
        db.session.commit()
        sent += 1
        if sent >= len(endings):
            time.sleep(chance.expovariate(a_second))
    return sent


def remove(settings: Settings) -> int:
    """Delete every row a demo wrote, in steps, and count the rollups anew; returns how many rows."""
    connection, total = Connection(settings.database_url, wait_s=30), 0
    mine = "uuid IN (SELECT uuid FROM job_history WHERE created_by = 'demo')"
    for table, condition, params in (
        ("jobs", "created_by = 'demo' AND state <> 'processing'", {}), ("failed_jobs", "created_by = 'demo'", {}),
        ("generations", mine, {}), ("job_costs", mine, {}), ("job_logs", mine, {}),
        ("job_metrics", f"metadata = :mark OR {mine}", {"mark": MARK}), ("job_history", "created_by = 'demo'", {}),
    ):
        rows = f"SELECT id FROM {table} WHERE {condition} LIMIT {STEP}"
        while True:
            with connection.transaction() as tx:
                done = tx.execute(f"DELETE FROM {table} WHERE id IN ({rows})", **params)
            total += done
            if done < STEP:
                break
    rollups.rebuild(connection, KEEP_DAYS)
    return total
