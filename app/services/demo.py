"""`flask demo`: rows that look like weeks of work, marked as a demo's; no outside connection is ever opened."""

from __future__ import annotations

import json
import random
import uuid as uuids
from collections.abc import Iterator
from typing import Any

from app.clock import DAY_MS, stamp
from app.config import Settings
from app.ledger.dialect import Connection
from app.services.dispatch import payload
from app.services.rebuild import rebuild

MARK = "demo"
STEP = 5000
DAYS = 30
# type, share of the traffic, mean run time in ms, share that fails
TYPES = (
    ("ProcessContentGeneration", 0.48, 9_000, 0.02), ("ProcessWordPressSync", 0.24, 1_800, 0.01),
    ("ProcessCsvImport", 0.13, 4_000, 0.01), ("ProcessPrestaShopSync", 0.10, 2_500, 0.03), ("ProcessBulkContentGeneration", 0.05, 40_000, 0.03),
)
TENANTS = ("acme", "bottega-nord", "ferramenta-rossi", "lumen", "verde-casa", None)
ERRORS = ("ConnectTimeout: the shop does not answer", "RateLimitError: 429, try again in 20 s", "KeyError: 'meta_description'")

_METRIC = """INSERT INTO job_metrics (uuid, round, claim_no, job_type, tenant_id, queue, worker, status, processing_time, wait_ms, memory_used,
 attempts, error_message, metadata, started_at, completed_at, created_at) VALUES (:uuid, 1, 1, :type, :tenant, :queue, :worker, :status, :ms,
 :wait, :memory, 1, :error, :mark, :started, :at, :at)"""
_HISTORY = """INSERT INTO job_history (uuid, job_type, tenant_id, queue, status, payload, result, error, attempts, tries, claim_no, round,
 created_by, created_ms, finished_ms) VALUES (:uuid, :type, :tenant, :queue, :status, :payload, NULL, :error, 1, 3, 1, 1, 'demo',
 :created, :finished)"""
_JOB = """INSERT INTO jobs (uuid, queue, payload, attempts, available_at, created_at, state, job_type, tenant_id, created_ms, available_ms,
 retry_until_ms, created_by) VALUES (:uuid, :queue, :payload, 0, :now / 1000, :now / 1000, 'pending', 'DemoWork', :tenant, :now, :now,
 :now + 86400000, 'demo')"""


class NotEmpty(Exception):
    """The database holds rows that are not a demo's."""


def fill(settings: Settings, metrics: int, pending: int, mix: bool) -> int:
    """Write `metrics` outcomes over 30 days with their rollups, and `pending` ready jobs; returns how many rows."""
    connection = Connection(settings.database_url, wait_s=30)
    if not mix and _others(connection):
        raise NotEmpty("This database holds other jobs. Use an empty DATA_DIR for a demo, or --mix to add demo rows here.")
    chance = random.Random()  # noqa: S311 (lifelike, not secret)
    rows = list(_outcomes(chance, metrics, connection.now()))
    for start in range(0, len(rows), STEP):
        with connection.transaction() as run:
            run.many(_METRIC, rows[start : start + STEP])
            run.many(_HISTORY, rows[start : start + STEP])
    if metrics:
        rebuild(settings, connection)
    for start in range(0, pending, STEP):
        with connection.transaction() as run:
            run.many(_JOB, [_pending(chance, run.now()) for _ in range(min(STEP, pending - start))])
    return metrics + pending


def _others(connection: Connection) -> bool:
    return bool(connection.all("SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE created_by IS NULL OR created_by <> 'demo') "
                               "OR EXISTS (SELECT 1 FROM job_history WHERE created_by IS NULL OR created_by <> 'demo')"))


def _outcomes(chance: random.Random, count: int, now: int) -> Iterator[dict[str, Any]]:
    weights = [t[1] for t in TYPES]
    for age in sorted((chance.random() * DAYS * DAY_MS for _ in range(count)), reverse=True):
        name, _, mean, fails = chance.choices(TYPES, weights)[0]
        at, ms = int(now - age), int(mean * chance.lognormvariate(-0.2, 0.6))
        status = "completed" if chance.random() >= fails else chance.choice(("failed", "failed", "timeout"))
        tenant, uuid = chance.choice(TENANTS), str(uuids.UUID(int=chance.getrandbits(128), version=4))
        queue = chance.choice(("default", "default", "low", "high"))
        yield {
            "uuid": uuid, "type": name, "tenant": tenant, "queue": queue, "worker": f"demo_{chance.randint(1, 3)}", "status": status, "ms": ms,
            "wait": int(chance.expovariate(1 / 4000)), "memory": chance.randint(70, 190) * 2**20,
            "error": None if status == "completed" else chance.choice(ERRORS), "mark": json.dumps({MARK: True}),
            "started": stamp(at - ms), "at": stamp(at), "payload": payload(uuid, name, {}, tenant, queue), "created": at - ms - 4000, "finished": at,
        }


def _pending(chance: random.Random, now: int) -> dict[str, Any]:
    uuid, tenant = str(uuids.UUID(int=chance.getrandbits(128), version=4)), chance.choice(TENANTS)
    text = payload(uuid, "DemoWork", {"ms": chance.randint(5, 400)}, tenant, "low")
    return {"uuid": uuid, "queue": "low", "tenant": tenant, "now": now, "payload": text}


def remove(settings: Settings) -> int:
    """Delete every row a demo wrote, in steps, and count the rollups anew; returns how many rows."""
    connection, total = Connection(settings.database_url, wait_s=30), 0
    marked = json.dumps({MARK: True})
    for table, condition in (("jobs", "created_by = 'demo' AND state <> 'processing'"), ("job_history", "created_by = 'demo'"),
                             ("failed_jobs", "created_by = 'demo'"), ("job_metrics", "metadata = :mark")):
        while True:
            with connection.transaction() as run:
                params = {"mark": marked} if ":mark" in condition else {}
                done = run.run(f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition} LIMIT {STEP})", **params)
            total += done
            if done < STEP:
                break
    rebuild(settings, connection)
    return total
