"""ProcessContentGeneration with real workers and the real SDK against a server that behaves like the API, well and badly.

Requests are counted there and compared with what the ledger says was asked and paid.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import threading
import time
from dataclasses import replace

import psutil
import pytest

from tests.process.product import ROOT

KEY, TENANT_KEY = "sk-canary-4711-do-not-print", "sk-tenant-0815-do-not-print"


def load_fake():
    spec = importlib.util.spec_from_file_location("fake_openai", ROOT / "scripts" / "fake-openai.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def api(product):
    server = load_fake().Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    product.env |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
    yield server
    server.over.set()
    server.shutdown()


def send(product, model: str = "gpt-4o-mini", tenant: str | None = None, timeout: int | None = None, **args) -> str:
    from app import registry
    from app.extensions import db

    with product.app.app_context():
        uuid = registry.find("ProcessContentGeneration").with_options(
            tenant_id=tenant, backoff=(0,), timeout=timeout).dispatch(prompt="Pompe di calore", model=model, **args)
        db.session.commit()
    return uuid


def generation(product, uuid: str) -> dict:
    names = "status, text, asks, maybe_paid, tokens_in, tokens_cached, tokens_out, cost_nano, currency, error, applied_ms"
    rows = product.all(f"SELECT {names} FROM generations WHERE uuid = ?", uuid)
    return dict(zip(names.split(", "), rows[0], strict=True)) if rows else {}


def final(product, uuid: str) -> tuple[str, str]:
    product.until(lambda: product.all("SELECT 1 FROM job_history WHERE uuid = ?", uuid), 40, f"job {uuid} ended")
    return product.all("SELECT status, COALESCE(error, '') FROM job_history WHERE uuid = ?", uuid)[0]


OUTCOMES = [
    # model, job, generation, words of the sentence, requests, maybe paid, cost known
    ("gpt-4o-mini", "completed", "answered", "", 1, 0, True),
    ("fake-plain", "completed", "answered", "", 1, 0, False),
    ("fake-empty", "failed", "failed", "The answer is empty", 1, 0, False),
    ("fake-length", "failed", "partial", "cut at the model's length limit", 1, 0, False),
    ("fake-refusal", "failed", "failed", "The model refused", 1, 0, False),
    ("fake-filter", "failed", "failed", "The model refused", 1, 0, False),
    ("fake-early", "failed", "partial", "the stream ended early", 1, 1, False),
    ("fake-cut", "failed", "partial", "The answer broke off", 1, 1, False),
    ("fake-broken", "failed", "failed", "The answer broke off", 1, 1, False),
    ("fake-quota", "failed", "failed", "insufficient_quota", 1, 0, False),
    ("fake-401", "failed", "failed", "OPENAI_API_KEY", 1, 0, False),
    ("fake-404", "failed", "failed", "does not know this model", 1, 0, False),
    ("fake-400", "failed", "failed", "refused the request (400)", 1, 0, False),
    ("fake-redirect", "failed", "failed", "redirect", 1, 0, False),
    ("fake-500", "failed", "failed", "The API answered 500", 3, 0, False),
    ("fake-drop", "failed", "failed", "The connection to the API failed", 3, 3, False),
    ("fake-flaky", "completed", "answered", "", 2, 0, False),
    ("fake-429", "completed", "answered", "", 2, 0, False),
    ("fake-nooptions", "completed", "answered", "", 2, 0, False),
    ("fake-forbids", "completed", "answered", "", 2, 0, False),
    ("fake-terse", "completed", "answered", "", 2, 0, False),
    ("fake-nostream", "completed", "answered", "", 2, 0, False),
    ("fake-nousage", "completed", "answered", "", 1, 0, False),
    ("fake-zerousage", "completed", "answered", "", 1, 0, False),
    ("fake-halves", "completed", "answered", "", 1, 0, False),
    ("fake-late429", "completed", "answered", "", 2, 0, False),
    ("fake-late500", "failed", "failed", "The API answered 503. The server had an error", 3, 0, False),
    ("fake-late401", "failed", "failed", "OPENAI_API_KEY", 1, 0, False),
    ("fake-latequota", "failed", "failed", "insufficient_quota", 1, 0, False),
    ("fake-after", "failed", "partial", "The answer broke off (error: Overloaded)", 1, 1, False),
]


@pytest.mark.timeout(180)
def test_every_answer_has_its_outcome_and_its_sentence(product, api):
    product.monitor()
    product.workers(2)
    uuids = {model: send(product, model) for model, *_ in OUTCOMES}
    for model, job, status, words, requests, maybe, known in OUTCOMES:
        ended, error = final(product, uuids[model])
        found = generation(product, uuids[model])
        assert (ended, found["status"]) == (job, status), (model, error)
        assert words in error, (model, error)
        assert (api.stats[model], found["asks"], found["maybe_paid"]) == (requests, requests, maybe), model
        assert (found["cost_nano"] is not None) == known, model
    first = generation(product, uuids["gpt-4o-mini"])
    assert first["tokens_in"] - first["tokens_cached"] >= 0
    assert first["cost_nano"] == (first["tokens_in"] - first["tokens_cached"]) * 150 + first["tokens_cached"] * 75 + first["tokens_out"] * 600
    for model in ("fake-429", "fake-late429"):
        attempts = product.all("SELECT status, attempts FROM job_metrics WHERE uuid = ? ORDER BY id", uuids[model])
        assert [a[0] for a in attempts] == ["retried", "completed"] and attempts[1][1] == 1, model  # waiting uses up no try
    assert generation(product, uuids["fake-halves"])["text"] == "caff\u00e8 \ufffd Caldo \U0001f600 e\ufffdfreddo \ufffdfine"
    assert generation(product, uuids["fake-forbids"])["tokens_out"] is None and generation(product, uuids["fake-nostream"])["tokens_out"] > 0
    again = {model: send(product, model) for model in ("fake-nooptions", "fake-forbids", "fake-terse", "fake-nostream")}
    assert {final(product, uuid)[0] for uuid in again.values()} == {"completed"}
    assert {api.stats[model] for model in again} == {3}, "what a server refuses is remembered, by every worker"
    dump = "".join(str(product.all(f"SELECT * FROM {t}")) for (t,) in product.all("SELECT name FROM sqlite_master WHERE type = 'table'"))
    assert KEY not in dump and KEY not in product.tail()


def test_a_demo_never_asks_a_real_model(product, api):
    from app import registry
    from app.extensions import db

    product.env["OPENAI_BASE_URL"] = "http://api.example.invalid/v1"
    product.workers(1)
    with product.app.app_context():
        uuid = registry.find("ProcessContentGeneration").with_options(created_by="demo").dispatch(prompt="x")
        db.session.commit()
    assert "A demo asks no real model" in final(product, uuid)[1] and not generation(product, uuid)


def test_a_hanging_api_costs_at_most_the_time_under_the_jobs(product, api):
    product.monitor()
    product.workers(2)
    hang, drip = send(product, "fake-hang", timeout=16), send(product, "fake-drip", timeout=16)
    product.until(lambda: generation(product, hang).get("maybe_paid"), 40)
    assert "did not answer within 8 s" in generation(product, hang)["error"]
    status, error = final(product, drip)
    assert status == "failed" and "no end within 8 s" in error and generation(product, drip)["status"] == "partial"


def test_the_text_becomes_the_contents_body_once_and_the_old_one_a_version(product, api):
    product.monitor()
    product.workers(1)
    missing = send(product, reference="art-1", tenant="acme")
    assert "There is no content art-1" in final(product, missing)[1]
    with contextlib.closing(__import__("sqlite3").connect(product.data_dir / "ainstein.sqlite3", timeout=10)) as c:
        c.execute("INSERT INTO contents (tenant_id, reference, title, body, created_ms, updated_ms) VALUES ('acme', 'art-1', 'Title', 'old body', 1, 1)")
        c.execute("INSERT INTO prompt_templates (tenant_id, name, body, updated_ms) VALUES ('', 'long', 'About {title}: {prompt} ({body})', 1)")
        c.commit()
    from app.services.jobs import actions

    with product.app.app_context():
        actions.retry(missing, "ada")
    product.until(lambda: generation(product, missing)["applied_ms"], 20)
    assert api.stats["gpt-4o-mini"] == 1  # the paid text was used
    assert product.one("SELECT body FROM contents") == generation(product, missing)["text"]
    assert product.all("SELECT body, replaced_by FROM content_versions") == [("old body", missing)]
    second = send(product, "fake-well", reference="art-1", tenant="acme", template="long")
    assert final(product, second)[0] == "completed"
    assert api.bodies[-1]["messages"][0]["content"].startswith("About Title: Pompe di calore (Pompe di calore")
    assert "There is no prompt template" in final(product, send(product, "fake-never", template="none"))[1] and not api.stats["fake-never"]


@pytest.mark.timeout(180)
def test_killed_while_it_answers_is_kept_counted_and_asked_again_only_by_a_person(product, api):
    product.monitor()
    product.workers(1)
    uuid = send(product, "fake-slow")
    product.until(lambda: (generation(product, uuid).get("text") or "") != "", 30, "some text")
    os.kill(product.worker_pids()[0], signal.SIGKILL)
    status, error = final(product, uuid)
    found = generation(product, uuid)
    assert status == "failed" and "may have been paid" in error
    assert (found["status"], found["asks"], found["maybe_paid"], api.stats["fake-slow"]) == ("partial", 1, 1, 1) and found["text"]
    from app.services.jobs import actions

    with product.app.app_context():
        actions.retry(uuid, "ada")
    product.until(lambda: generation(product, uuid)["status"] == "answered", 60)
    assert (generation(product, uuid)["asks"], api.stats["fake-slow"]) == (2, 2)


def test_stopped_by_a_person_keeps_what_was_paid(product, api):
    product.monitor()
    product.workers(1)
    uuid = send(product, "fake-slow")
    product.until(lambda: product.one("SELECT progress_done FROM jobs WHERE uuid = ?", uuid), 30, "live progress")
    from app.services.jobs import actions

    with product.app.app_context():
        actions.cancel(uuid, "ada")
    assert final(product, uuid)[0] == "cancelled"
    found = generation(product, uuid)
    assert found["status"] == "cancelled" and found["text"] and found["maybe_paid"] == 1


@pytest.mark.timeout(240)
def test_killed_at_random_every_request_is_counted_and_none_is_asked_twice_by_itself(product, api):
    product.monitor()
    consumers = [product.workers(2)]
    uuids = [send(product, "fake-slow" if n % 4 == 0 else "gpt-4o-mini") for n in range(16)]
    for ended in (2, 5, 8):
        product.until(lambda ended=ended: product.one("SELECT COUNT(*) FROM job_history") >= ended, 60, f"{ended} have ended")
        pids = product.worker_pids()
        if pids:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)
    for uuid in uuids:
        final(product, uuid)
    asked = product.one("SELECT SUM(asks) FROM generations")
    assert asked >= sum(api.stats.values()) >= asked - product.one("SELECT SUM(maybe_paid) FROM generations")
    assert product.one("SELECT MAX(asks) FROM generations") == 1
    assert product.one("SELECT COUNT(*) FROM job_costs WHERE cost_nano IS NOT NULL") == product.one(
        "SELECT COUNT(*) FROM generations WHERE status = 'answered' AND model = 'gpt-4o-mini'")
    assert consumers[0].poll() is None


def test_a_limit_of_requests_a_minute_holds_for_all_workers(product, api):
    """Thousands of waiting texts are held, cost nothing, and no request is sent beyond the limit."""
    product.env["OPENAI_RPM"] = "3"
    product.monitor()
    product.workers(2), product.workers(2)
    for _ in range(40):
        send(product)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'held' AND hold_code = 'rate'") == 37, 40)
    product.until(lambda: sum(api.stats.values()) == 3, 20)
    product.clock("default", 10)
    assert sum(api.stats.values()) == 3 and product.one("SELECT COUNT(*) FROM rate_starts") == 3
    assert product.one("SELECT reason FROM jobs WHERE hold_code = 'rate' LIMIT 1") == "Its type is limited to 3 starts in 60 s."
    assert not product.all("SELECT 1 FROM queues WHERE paused_at IS NOT NULL") and product.one("SELECT SUM(attempts) FROM jobs") == 0


@pytest.mark.timeout(240)
def test_no_window_of_the_rate_has_more_requests_whatever_the_server_says_and_whoever_is_killed(product, api):
    """Further requests of an attempt count too: other forms of it, retries. Counted at the server, over kills and restarts."""
    most, window = 4, 3.0
    models = ("gpt-4o-mini", "fake-forbids", "fake-nostream", "fake-429", "fake-flaky", "fake-terse", "fake-drop", "fake-400")
    from app.services.jobs import limits

    product.monitor()
    product.workers(1)
    product.until(lambda: product.all("SELECT 1 FROM job_limits WHERE job_type = 'ProcessContentGeneration'"), 30)
    with product.app.app_context():
        limits.change("ProcessContentGeneration", "ada", rate=(most, int(window * 1000)))
    product.workers(2), product.workers(1)
    uuids = [send(product, models[n % len(models)]) for n in range(16)]
    for ended in (3, 6, 9):
        product.until(lambda ended=ended: product.one("SELECT COUNT(*) FROM job_history") >= ended, 90, f"{ended} have ended")
        for pid in product.worker_pids()[:2]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for uuid in uuids:
        product.until(lambda uuid=uuid: product.all("SELECT 1 FROM job_history WHERE uuid = ?", uuid), 90, f"job {uuid} ended")
    times = sorted(api.times)
    assert len(times) >= 18 and all(later - first > window for first, later in zip(times, times[most:], strict=False)), [
        round(later - first, 3) for first, later in zip(times, times[most:], strict=False) if later - first <= window]


def test_a_text_that_sends_no_request_takes_none_from_the_others(product, api):
    """Over its budget, or answered before: its start is given back."""
    from app.extensions import db
    from app.services.content import costs

    product.env["OPENAI_RPM"] = "3"
    with product.app.app_context():
        costs.save_budget("acme", "0.01", "USD", True, "ada")
        db.session.execute(db.text("INSERT INTO job_costs (uuid, job_type, tenant_id, model, at_ms, cost_nano, currency) "
                                   "VALUES ('u', 't', 'acme', 'm', :now, 10000000, 'USD')"), {"now": int(time.time() * 1000)})
        db.session.commit()
    for _ in range(12):
        send(product, tenant="acme")
    free = [send(product, tenant="lumen") for _ in range(3)]
    product.monitor()
    product.workers(2)
    product.until(lambda: all(product.all("SELECT 1 FROM job_history WHERE uuid = ?", u) for u in free), 45, "those of another tenant")
    assert product.one("SELECT COUNT(*) FROM rate_starts") == 3 == sum(api.stats.values())


def test_tenants_take_turns(product, api):
    for _ in range(30):
        send(product, tenant="big")
    small = [send(product, tenant="small") for _ in range(2)]
    product.monitor()
    product.workers(1)
    product.until(lambda: all(product.all("SELECT 1 FROM job_history WHERE uuid = ?", u) for u in small), 40)
    done = [r[0] for r in product.all("SELECT tenant_id FROM job_history ORDER BY id")]
    assert done.index("small") <= 2 and [n for n, t in enumerate(done) if t == "small"][1] <= 4


def test_a_spent_budget_holds_and_a_raised_one_lets_go(product, api):
    from app.extensions import db
    from app.services.content import costs

    with product.app.app_context():
        costs.save_budget("acme", "0.01", "USD", True, "ada")
        db.session.execute(db.text("INSERT INTO job_costs (uuid, job_type, tenant_id, model, at_ms, cost_nano, currency) "
                                   "VALUES ('u', 't', 'acme', 'm', :now, 10000000, 'USD')"), {"now": int(time.time() * 1000)})
        db.session.commit()
    product.monitor()
    product.workers(1)
    held, free = send(product, tenant="acme"), send(product, tenant="lumen")
    assert final(product, free)[0] == "completed"
    product.until(lambda: product.one("SELECT state FROM jobs WHERE uuid = ?", held) == "held", 20)
    assert product.one("SELECT reason FROM jobs WHERE uuid = ?", held).startswith("The monthly budget of acme is spent (0.01 of 0.01 USD)")
    product.until(lambda: product.one("SELECT COUNT(*) FROM alerts WHERE kind = 'budget' AND closed_ms IS NULL") == 1, 40, "the alert")
    with product.app.app_context():
        costs.save_budget("acme", "10", "USD", True, "ada")
    assert final(product, held)[0] == "completed" and api.stats["gpt-4o-mini"] == 2


@pytest.fixture
def acme(product):
    """Another server, to which the tenant acme is connected with a key of its own."""
    from app.services.content import connection_check, connection_pages

    product.env["ALLOW_PRIVATE_HOSTS"] = "1"
    settings = replace(product.app.extensions["settings"], allow_private_hosts=True)
    server = load_fake().Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with product.app.app_context():
        number, _ = connection_pages.save("acme", "openai", server.url, "", TENANT_KEY, {}, "ada", settings)
        assert connection_check.test(number, "ada", settings) == (True, "The key works. Models that the account may use: 1.")
    yield server
    server.over.set()
    server.shutdown()


def test_a_tenant_pays_with_its_own_account_and_its_key_is_written_nowhere(product, api, acme):
    product.monitor()
    product.workers(1)
    own, refused, other = send(product, tenant="acme"), send(product, "fake-401", tenant="acme"), send(product, tenant="lumen")
    assert [final(product, uuid)[0] for uuid in (own, refused, other)] == ["completed", "failed", "completed"]
    assert (acme.stats["gpt-4o-mini"], acme.stats["fake-401"], sum(api.stats.values())) == (1, 1, 1)
    assert "in the connection of the tenant" in final(product, refused)[1]  # the server repeats the key in its answer
    with product.app.app_context():
        from app.services.content import connection_keys

        connection_keys.rekey("ada", product.app.extensions["settings"])
    again = send(product, tenant="acme")
    assert final(product, again)[0] == "completed" and acme.stats["gpt-4o-mini"] == 2
    os.unlink(product.data_dir / "connections-key")
    lost = send(product, tenant="acme")
    assert final(product, lost) == ("failed", "The secret of this connection cannot be read with the key in DATA_DIR: enter it again.")
    dump = "".join(str(product.all(f"SELECT * FROM {t}")) for (t,) in product.all("SELECT name FROM sqlite_master WHERE type = 'table'"))
    assert TENANT_KEY not in dump and TENANT_KEY not in product.tail() and sum(api.stats.values()) == 1


def test_an_outage_of_one_tenants_server_delays_its_own_jobs_only(product, api, acme):
    product.monitor()
    product.workers(2)
    down = [send(product, "fake-500", tenant="acme") for _ in range(6)]
    row = "SELECT failures, hold_s, held_until_ms FROM connections"
    product.until(lambda: product.all(row)[0][2], 30, "the connection is held")
    asked = acme.stats["fake-500"]
    waiting, free = [send(product, tenant="acme") for _ in range(5)], [send(product, tenant="lumen") for _ in range(5)]
    assert {final(product, uuid)[0] for uuid in free} == {"completed"}
    product.until(lambda: all(product.one("SELECT state FROM jobs WHERE uuid = ?", u) == "scheduled" for u in waiting), 30, "those of acme wait")
    assert acme.stats["gpt-4o-mini"] == 0 and acme.stats["fake-500"] <= asked + 4, "those under way end, no other begins"
    assert "held, because it failed" in product.one("SELECT reason FROM jobs WHERE uuid = ?", waiting[0])
    product.until(lambda: product.one("SELECT COUNT(*) FROM alerts WHERE kind = 'connection' AND closed_ms IS NULL") == 1, 40, "the alert")
    with product.app.app_context():
        from app.services.content import connection_pages
        from app.services.jobs import actions

        for uuid in down:
            with contextlib.suppress(actions.ActionRefused):
                actions.act("cancel", uuid, "ada")
        assert connection_pages.try_now(product.one("SELECT id FROM connections"), "ada") == len(waiting)
    assert {final(product, uuid)[0] for uuid in waiting} == {"completed"} and product.all(row) == [(0, 0, None)]
