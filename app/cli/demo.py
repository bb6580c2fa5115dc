"""`flask demo`: writes lifelike history and jobs, marked as a demo's. It opens no outside connection.

history: outcomes of 30 days, with attempts that were retried, lost or timed out, and failures that wait for a decision;
of three versions of the code, with the two deploys between, each error since its version
batches: one that runs and one that has ended
queue: rows in every live state, and real `DemoWork` jobs, which workers run to every kind of end

`--remove` finds each row by its `created_by` or `metadata`.
"""

from __future__ import annotations

import json
import random
import time
import uuid as uuids
from collections.abc import Iterator
from typing import Any

from app import registry
from app.config import QUEUES, Settings
from app.extensions import db
from app.integrations import openai_text
from app.ledger.dialect import Connection
from app.ledger.rows import FAILED, HISTORY, METRIC, NEW_JOB, among, insert
from app.services.instance.retention import KEEP_DAYS, delete_in_steps
from app.services.jobs import facts, rollups
from app.services.jobs.batches import batch as batching, begin
from app.services.jobs.dispatch import payload
from app.services.stats import usage_fill
from app.support.clock import DAY_MS, stamp

MARK = json.dumps({"demo": True})
STEP, DAYS, KEPT_FAILED = 5000, 30, 40
# type, share of the traffic, mean run time in ms, share that fails, telling argument and its values
TYPES = (
    ("ProcessContentGeneration", 0.48, 9_000, 0.02, "prompt",
     ("Pompe di calore: domande frequenti", "Vini dell'Etna", "Solare termico")),
    ("ProcessWordPressSync", 0.24, 1_800, 0.01, "article", ("articolo 3.118", "articolo 3.101", "articolo 3.099")),
    ("ProcessCsvImport", 0.13, 4_000, 0.01, "file",
     ("listino-autunno-2026.csv", "fornitori-2026.csv", "clienti-ottobre.csv")),
    ("ProcessPrestaShopSync", 0.10, 2_500, 0.03, "products", ("240 prodotti", "12 prodotti")),
    ("ProcessBulkContentGeneration", 0.05, 40_000, 0.03, "topics", ("12 argomenti", "40 argomenti")))
MODELS = {"gpt-4o-mini": 50, "gpt-4o": 20, "fake-slow": 15, "fake-length": 4, "fake-refusal": 4, "fake-429": 4,
          "fake-flaky": 3}  # in percent
TENANTS = ("acme", "bottega-nord", "ferramenta-rossi", "lumen", "verde-casa", None)
VERSIONS = (  # days before now, since when; the version of the code; the text of its deploy
    (DAYS, f"{'3f9c1e7' * 6}"[:40] + ".5d41402abc4b", ""),
    (9, f"{'a17b2d4' * 6}"[:40] + ".7d793037a076", "Release 41: catalogue in two languages"),
    (1.5, f"{'e8d05f6' * 6}"[:40] + ".9a0364b9e99b", "Release 42: new checkout"))
ERRORS = (  # message, the first of VERSIONS that raises it, share
    ("ConnectTimeout: the shop does not answer after {n} s", 0, 5),
    ("RateLimitError: 429, limit of requests reached, retry in {n} s", 0, 4),
    ("KeyError: '{word}'", 0, 3), ("PermissionError: 401, the application password of shop-{n} was revoked", 0, 1),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/import/{word}-{n}.csv'", 1, 2),
    ("ValueError: product {word}-{n} has no price in {n} of 3 currencies", 2, 6))
WORDS = ("meta_description", "price", "sku", "gallery", "brand")
ERROR_OF = {"completed": None, "cancelled": "Cancelled by demo.", "lost": "its process is gone",
            "timeout": "timeout after 300 s"}
UNKNOWN = "No job type ProcessNewsletter is known here. Deploy the code that declares it, or delete the job."
ENDINGS = {"completes": 88, "recovers": 5, "fails": 3, "gives up": 2, "overruns": 1, "loses its worker": 1}
TRACEBACK = """Traceback (most recent call last):
  File "app/jobs/demo.py", line 36, in demo_work
    raise {kind}({said!r})
{error}"""

_OF_A_JOB = {"job_type": ":type", "tenant_id": ":tenant"}
_OF_AN_ATTEMPT = _OF_A_JOB | {"round": "1", "claim_no": ":n"}
_OPTIONS = {"tries": "3", "backoff": "'60,300,1800'", "timeout": "300", "durable": "0", "created_by": "'demo'"}
_OF_AN_END = _OF_AN_ATTEMPT | {"error_json": "NULL", "created_ms": ":created", "batch_id": "NULL", "limit_key": "NULL"}
_METRIC = insert(
    "job_metrics", METRIC, **_OF_AN_ATTEMPT, attempts=":n", processing_time=":ms", wait_ms=":wait",
    memory_used=":memory", error_message=":error", error_json="NULL", metadata=":mark", started_at=":started",
    completed_at=":at", created_at=":at", code_version=":version", traceback=":traceback")
_HISTORY = insert("job_history", HISTORY, **_OF_AN_END, attempts=":n", tries="3", created_by="'demo'",
                  finished_ms=":finished")
_FAILED = insert("failed_jobs", FAILED, **_OF_AN_END, **_OPTIONS, connection="'sqlite'", exception=":traceback",
                 failed_at=":at")
_JOB = insert(
    "jobs", [*NEW_JOB, "reason", "hold_code"], **_OF_A_JOB, **_OPTIONS, attempts="0", available_at=":at / 1000",
    created_at=":now / 1000", created_ms=":now", available_ms=":at", retry_until_ms=":now + 86400000",
    hold_code=":code", batch_id="NULL", limit_key="NULL")


class NotEmpty(Exception):
    """The database holds jobs that are not a demo's; the text says what to do."""


def fill(settings: Settings, metrics: int, pending: int, mix: bool) -> int:
    """Write `metrics` outcomes over 30 days with their rollups, and `pending` ready jobs; returns how many.

    `mix` allows a database with other jobs; without it, raises NotEmpty for one.
    """
    connection = Connection(settings.database_url, wait_s=30)
    others = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE COALESCE(created_by, '') <> 'demo')"
                         for table in ("jobs", "job_history"))
    if not mix and connection.fetch_all(f"SELECT 1 WHERE {others}"):
        raise NotEmpty("This database holds other jobs. Use an empty DATA_DIR for a demo, "
                       "or --mix to add demo rows here.")
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
        if metrics:
            tx.execute_many("INSERT INTO deploys (at_ms, text, actor, version) VALUES (:at, :text, 'demo', :version)", [
                {"at": tx.now() - int(days * DAY_MS), "text": text, "version": version}
                for days, version, text in VERSIONS if text])
        tx.execute_many(_FAILED, [row for row in ends if row["status"] in ("failed", "timeout")][-KEPT_FAILED:])
    while rollups.advance(connection) or facts.advance(connection):
        pass
    for start in range(0, pending, STEP):
        with connection.transaction() as tx:
            tx.execute_many(_JOB, [_live(chance, tx.now()) for _ in range(min(STEP, pending - start))])
    return metrics + pending


def _history(chance: random.Random, count: int, now: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Final outcomes, oldest first, each with the outcomes of its earlier attempts; `count` outcomes in all."""
    ages = sorted((chance.random() ** 1.3 * DAYS * DAY_MS for _ in range(count)), reverse=True)
    weights, left = [t[1] for t in TYPES], 0
    for age in ages:
        if left:  # an earlier attempt of the last job was this outcome
            left -= 1
            continue
        name, _, mean, fails, argument, texts = chance.choices(TYPES, weights)[0]
        finished, failed = int(now - age), chance.random() < fails
        number = max(n for n, one in enumerate(VERSIONS) if age <= one[0] * DAY_MS)
        known = [(text, share) for text, since, share in ERRORS if since <= number]
        error = chance.choices(*zip(*known, strict=True))[0].format(n=chance.randint(2, 90), word=chance.choice(WORDS))
        status = chance.choice(("failed", "failed", "failed", "timeout", "cancelled")) if failed else "completed"
        earlier = chance.choices(([], ["retried"], ["lost"]), (0.96, 0.035, 0.005))[0]
        if status == "failed":
            earlier = ["retried", "retried"]
        uuid, tenant, queue = _uuid(chance), chance.choice(TENANTS), chance.choices(QUEUES, (1, 2, 1))[0]
        rows, at = [], finished
        for n, outcome in reversed(list(enumerate([*earlier, status], 1))):
            said = ERROR_OF.get(outcome, error)
            ms, wait = int(mean * chance.lognormvariate(-0.2, 0.6)), int(chance.expovariate(1 / 4000))
            rows.append({
                "uuid": uuid, "type": name, "tenant": tenant, "queue": queue, "mark": MARK, "n": n, "status": outcome,
                "worker": f"demo_{chance.randint(1, 3)}", "memory": chance.randint(70, 190) * 2**20, "ms": ms,
                "wait": wait, "error": said, "started": stamp(at - ms), "at": stamp(at),
                "version": None if outcome == "cancelled" else VERSIONS[number][1],
                "traceback": _traceback(said) if outcome in ("failed", "timeout", "retried") else None})
            at -= ms + wait + (60_000 if n > 1 else 0)
        left = len(earlier)
        yield rows[0] | {
            "payload": payload(uuid, name, {argument: chance.choice(texts)}, tenant, queue), "created": at,
            "finished": finished, "result": json.dumps({"ok": True}) if status == "completed" else None,
        }, rows[:0:-1]


def _traceback(error: str) -> str:
    kind, colon, said = error.partition(": ")
    return TRACEBACK.format(error=error, kind=kind if colon else "TimeoutError", said=said or error)


def _uuid(chance: random.Random) -> str:
    return str(uuids.UUID(int=chance.getrandbits(128), version=4))


def _live(chance: random.Random, now: int, state: str = "pending", name: str = "DemoWork", in_ms: int = 0,
          reason: str | None = None) -> dict[str, Any]:
    """A row of `jobs` that is due in `in_ms`."""
    uuid, tenant = _uuid(chance), chance.choice(TENANTS)
    args = {"ms": chance.randint(5, 400)} if name == "DemoWork" else {"subject": "Novembre"}
    return {"uuid": uuid, "queue": "low", "tenant": tenant, "now": now, "at": now + in_ms, "state": state, "type": name,
            "payload": payload(uuid, name, args, tenant, "low"), "reason": reason,
            "code": "person" if state == "held" else None}


def every_state(settings: Settings) -> int:
    """Write rows that keep their state (scheduled, held, blocked); returns how many."""
    connection, chance = Connection(settings.database_url, wait_s=30), random.Random()  # noqa: S311
    with connection.transaction() as tx:
        rows = [_live(chance, tx.now(), "scheduled", in_ms=chance.randint(5, 90) * 60_000) for _ in range(4)]
        rows += [_live(chance, tx.now(), "held", reason="Held by demo.") for _ in range(2)]
        rows += [_live(chance, tx.now(), "blocked", "ProcessNewsletter", reason=UNKNOWN)]
        tx.execute_many(_JOB, rows)
    return len(rows)


def two_batches(settings: Settings) -> int:
    """Write a batch that runs, of `DemoWork` jobs, and one that has ended, of jobs of the history; returns how many
    members they have."""
    begun = {"tenant_id": "acme", "created_by": "demo"}
    with batching("Listino autunno 2026", **begun, then=registry.find("DemoWork")) as running:
        jobs = registry.find("DemoWork").with_options(batch=running, **begun)
        jobs.dispatch_many([{"ms": 2000, "text": f"pagina {n}", "ending": "gives up" if n == 3 else "completes"}
                            for n in range(60)])
    ended = begin("Sincronia dei negozi", **begun)
    db.session.commit()
    connection, job_type = Connection(settings.database_url, wait_s=30), "ProcessPrestaShopSync"
    newest = connection.fetch_all("SELECT uuid FROM job_history WHERE created_by = 'demo' AND job_type = :t "
                                  "ORDER BY id DESC LIMIT 40", t=job_type)
    members = among([row[0] for row in newest], "uuid")
    with connection.transaction() as tx:
        for table in ("job_history", "failed_jobs"):
            tx.execute(f"UPDATE {table} SET batch_id = :b WHERE {members}", b=ended.id)
        tx.execute("UPDATE job_batches SET total_jobs = :n, created_ms = (SELECT MIN(created_ms) FROM job_history "
                   "WHERE batch_id = :b) WHERE id = :b", b=ended.id, n=len(newest))
    connection.close()
    ended.seal()
    db.session.commit()
    return 60 + len(newest)


def traffic(seconds: float, a_second: float = 2.0) -> int:
    """Dispatch `DemoWork` jobs of every ending for `seconds`; returns how many. When OPENAI_BASE_URL is a development
    server, every third comes with a job that generates a text."""
    chance, end, sent = random.Random(), time.monotonic() + seconds, 0  # noqa: S311
    work, texts = registry.find("DemoWork"), registry.find("ProcessContentGeneration")
    endings = list(ENDINGS)
    while work is not None and (sent < len(endings) or time.monotonic() < end):
        ending = endings[sent] if sent < len(endings) else _weighted(chance, ENDINGS)
        text = chance.choice(chance.choice(TYPES)[5])
        options = {"tenant_id": chance.choice(TENANTS), "queue": chance.choice(QUEUES), "created_by": "demo"}
        limited = work.with_options(**options, timeout=5 if ending == "overruns" else 60)
        limited.dispatch(ms=chance.choice((80, 300, 900, 4000)), text=text, ending=ending)
        if openai_text.of_environment().is_local and sent % 3 == 0:
            texts.with_options(**options).dispatch(prompt=text, model=_weighted(chance, MODELS))
        db.session.commit()
        sent += 1
        if sent >= len(endings):
            time.sleep(chance.expovariate(a_second))
    return sent


def _weighted(chance: random.Random, weights: dict[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


def remove(settings: Settings) -> int:
    """Delete the rows of all demos in steps, and count the rollups again; returns how many."""
    connection, total = Connection(settings.database_url, wait_s=30), 0
    by_demo, its_jobs = "created_by = 'demo'", "uuid IN (SELECT uuid FROM job_history WHERE created_by = 'demo')"
    for table, condition in (
            ("jobs", f"{by_demo} AND state <> 'processing'"), ("failed_jobs", by_demo), ("generations", its_jobs),
            ("job_costs", its_jobs), ("job_logs", its_jobs), ("job_metrics", f"metadata = :mark OR {its_jobs}"),
            ("job_facts", its_jobs), ("job_history", by_demo), ("job_batches", by_demo), ("deploys", "actor = 'demo'")):
        total += delete_in_steps(connection, table, condition, 2**31, STEP, mark=MARK)
    with connection.transaction() as tx:
        tx.execute("DELETE FROM error_groups WHERE NOT EXISTS (SELECT 1 FROM job_facts f "
                   "WHERE f.error_group = error_groups.error_group)")
    rollups.rebuild(connection, KEEP_DAYS)
    usage_fill.rebuild(connection, KEEP_DAYS)
    return total
