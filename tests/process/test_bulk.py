"""Bulks with real workers against a server that throttles, cuts and fails, under kills; requests are counted there.

BULK_TEXTS=500 BULK_KILLS=40 python -m pytest tests/process/test_bulk.py -k storm: the long form.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter

import psutil
import pytest

from tests.process.test_generation import api  # noqa: F401  (a fixture)

TEXTS, KILLS = int(os.environ.get("BULK_TEXTS", "30")), int(os.environ.get("BULK_KILLS", "6"))
ENDINGS = ("", "", "", "", " fake-429", " fake-cut", " fake-flaky", " fake-400", " fake-late429", " fake-steady")
MOST_REQUESTS = {"": 1, " fake-429": 2, " fake-cut": 1, " fake-flaky": 2, " fake-400": 1, " fake-late429": 2, " fake-steady": 1}


def start(product, prompts: list[str], tenant: str = "acme", **args) -> str:
    from app import registry
    from app.extensions import db

    with product.app.app_context():
        file = product.data_dir.parent / "prompts.csv"
        file.write_text("prompt\n" + "\n".join(prompts) + "\n")
        definition = registry.find("ProcessBulkContentGeneration").with_options(tenant_id=tenant, backoff=(0,))
        uuid = definition.dispatch(path=registry.UploadedFile(file), model="fake-mixed", **args)
        db.session.commit()
    return uuid


def kill_workers(product) -> None:
    for pid in product.worker_pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if "huey" in " ".join(psutil.Process(pid).cmdline()):
                os.kill(pid, signal.SIGKILL)


def run_now(product) -> None:
    """Begin at once what waits a minute for its second attempt."""
    from app.services.audit import ActionRefused
    from app.services.jobs import actions

    later = "SELECT uuid FROM jobs WHERE state = 'scheduled' AND attempts > 0 AND available_ms > created_ms + 30000"
    for (uuid,) in product.all(later):
        with product.app.app_context(), contextlib.suppress(ActionRefused):
            actions.retry(uuid, "ada")


@pytest.mark.timeout(900)
def test_storm_nothing_is_asked_twice_and_nothing_is_missing(product, api):  # noqa: F811
    """Each prompt is answered whole at most once, whatever is killed; each job ends once; all results are there."""
    dice = random.Random(7)
    prompts = [f"Testo {n}{ENDINGS[n % len(ENDINGS)]}" for n in range(TEXTS)]
    product.env["OPENAI_TIMEOUT"] = "30"
    product.monitor(), product.workers(2), product.workers(2)
    batch = start(product, prompts)
    ended = lambda: product.one("SELECT COUNT(*) FROM job_history WHERE batch_id = ?", batch)  # noqa: E731
    for n in range(KILLS):  # from the first moment on: also the job that makes the batch
        end = time.monotonic() + (dice.uniform(0.1, 0.6) if n < KILLS // 2 else dice.uniform(0.5, 2.5))
        product.until(lambda end=end: time.monotonic() > end or ended() == TEXTS, 60)
        kill_workers(product)
    assert product.one("SELECT COUNT(*) FROM job_batches") <= 1
    product.until(lambda: run_now(product) or ended() == TEXTS, 120 + TEXTS, "all texts ended")
    product.ended()
    rows = product.all("SELECT g.prompt, g.status, g.asks, h.status, h.error, g.uuid FROM generations g JOIN job_history h ON h.uuid = g.uuid WHERE g.batch_id = ? ORDER BY g.id", batch)
    assert [row[0] for row in rows] == prompts, "every prompt once, in order"
    finals = product.finals()
    assert all(finals[row[5]] == 1 for row in rows) and finals[batch] == 1
    assert max(api.whole.values()) == 1, "no prompt is answered whole twice"
    for prompt, status, asks, job, error, _ in rows:
        requests, ending = api.prompts[prompt], prompt.removeprefix(" ".join(prompt.split()[:2]))
        assert requests <= asks <= MOST_REQUESTS[ending], (prompt, requests, asks, error)
        if job == "completed":
            assert (status, requests == asks, api.whole[prompt]) == ("answered", True, 1), (prompt, requests, asks)
        else:
            assert job == "failed" and error, (prompt, job, error)
    told = Counter(row[3] for row in rows)
    assert told["completed"] >= TEXTS // 3, told
    with product.app.app_context():
        from app.extensions import db
        from app.services.content import bulk

        found = json.loads("".join(bulk.as_json(db.engine, batch)))["texts"]
    assert [row["prompt"] for row in found] == prompts and Counter(row["status"] for row in found) == told


@pytest.mark.timeout(300)
def test_killed_while_it_makes_the_batch_all_or_nothing_is_there(product, api):  # noqa: F811
    """3,000 texts, which nobody begins; a worker is killed again and again until the batch is there. A third kill while
    it makes the batch ends the job as poison, on a slow machine: then a person retries it."""
    from app.services.jobs import actions, queues

    with product.app.app_context():
        queues.pause("type:ProcessContentGeneration", "ada", None, None)
    dice = random.Random(3)
    product.monitor(), product.workers(2)
    batch = start(product, [f"Testo {n}" for n in range(3000)])
    claimed = "SELECT COUNT(*) FROM jobs WHERE batch_id = ? OR uuid = ? AND state = 'processing'"

    def reached(query: str, *values: str) -> bool:
        if product.one("SELECT COUNT(*) FROM failed_jobs WHERE uuid = ? AND deleted_at IS NULL", batch):
            with product.app.app_context():
                actions.retry(batch, "ada")
        return bool(product.one(query, *values))

    for _ in range(6):
        product.until(lambda: reached(claimed, batch, batch), 60)
        time.sleep(dice.uniform(0.02, 0.7))
        kill_workers(product)
        members = product.one("SELECT COUNT(*) FROM jobs WHERE batch_id = ?", batch)
        assert (members, product.one("SELECT COUNT(*) FROM generations WHERE batch_id = ?", batch)) in ((0, 0), (3000, 3000))
    product.until(lambda: reached("SELECT COUNT(*) FROM job_history WHERE uuid = ? AND status = 'completed'", batch), 60)
    assert product.one("SELECT COUNT(*) FROM jobs WHERE batch_id = ?", batch) == 3000 and not api.prompts


def test_at_most_four_texts_of_a_tenant_at_once(product, api):  # noqa: F811
    product.monitor(), product.workers(6)
    product.until(lambda: len(product.worker_pids()) == 6, 30)
    batch = start(product, [f"Testo {n} fake-steady" for n in range(10)])
    most = 0
    while not product.one("SELECT closed_ms FROM job_batches WHERE id = ?", batch):
        most = max(most, product.one("SELECT COUNT(*) FROM jobs WHERE batch_id = ? AND state = 'processing'", batch))
        time.sleep(0.02)
    assert most == 4 and product.one("SELECT COUNT(*) FROM job_history WHERE batch_id = ? AND status = 'completed'", batch) == 10


def test_the_failed_ones_alone_are_retried_and_paid_again(product, api):  # noqa: F811
    from app.services.jobs import actions

    product.monitor(), product.workers(2)
    batch = start(product, ["bene uno", "male fake-cut", "bene due"])
    product.until(lambda: product.one("SELECT closed_ms FROM job_batches WHERE id = ?", batch), 40)
    assert sorted(api.prompts.values()) == [1, 1, 1]
    (uuid,) = [r[0] for r in product.all("SELECT uuid FROM failed_jobs WHERE batch_id = ?", batch)]
    with product.app.app_context():
        actions.retry(uuid, "ada")
    product.until(lambda: api.prompts["male fake-cut"] == 2, 30)
    product.ended()
    assert api.prompts["bene uno"] == api.prompts["bene due"] == 1
