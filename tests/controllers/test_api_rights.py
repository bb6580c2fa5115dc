"""What a token of one scope must not learn, limits of a person with many tokens, and jobs that move while they are read."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest
from limits import RateLimitItemPerMinute
from sqlalchemy import event, select

from app.controllers import api_wait, rate_limits
from app.extensions import db
from app.models import Alert, AlertRule
from app.services.jobs import actions
from app.services.people import accounts
from app.support.clock import now_ms
from tests.conftest import PASSWORD, sign_in
from tests.controllers.test_api import Api

SECRET = "zanzibar"
one_store = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)


@one_store
def test_a_token_that_may_act_and_not_read_finds_nothing_out_by_searching(ledger):
    api = Api(ledger)
    token = api.make(scopes=("act",))
    api.send("TestEcho", {"text": SECRET})
    for part in ({"args.text": SECRET}, {"q": SECRET}):
        answer = api.ask("POST", "/admin/jobs/bulk", token, data={"action": "hold", "scope": "all"} | part)
        assert answer.status_code == 400 and "does not see arguments" in answer.json["error"]
    assert ledger.one("SELECT COUNT(*) FROM jobs WHERE state = 'held'") == 0


@one_store
def test_a_token_that_may_dispatch_and_not_read_sees_no_arguments(ledger):
    api = Api(ledger)
    token = api.make(scopes=("dispatch",))
    assert api.ask("POST", "/admin/jobs/schedules/new", data={"type": "TestEcho", "name": "nightly", "cron": "0 3 * * *", "text": SECRET}).status_code == 200
    uuid = api.send("TestEcho", {"text": SECRET}).json["uuid"]
    for method, path, data in (("GET", "/admin/jobs/schedules/edit/nightly", None), ("POST", "/admin/jobs/schedules/edit/nightly", {"check": "1", "cron": "0 3 * * *"}),
                               ("POST", "/admin/jobs/schedules/edit/nightly", {"cron": "bad"}), ("GET", f"/admin/jobs/new?like={uuid}", None), ("GET", f"/admin/jobs/new/edit/{uuid}", None),
                               ("POST", f"/admin/jobs/new/edit/{uuid}", {"option-version": "x"}), ("POST", "/admin/jobs/new", {"type": "TestEcho", "like": uuid, "queue": "bad"})):
        assert SECRET not in api.ask(method, path, token, data=data).text, (method, path)


@one_store
def test_an_alert_that_is_over_hides_why_from_viewers(ledger):
    ledger.app.testing = True
    facts = {"tenant": "acme", "service": "openai", "why": SECRET, "why_json": None}
    with ledger.app.app_context():
        rule = db.session.scalar(select(AlertRule.id).limit(1))
        accounts.create_user("viewer@example.org", "viewer", PASSWORD)
        for closed in (None, now_ms()):
            db.session.add(Alert(rule_id=rule, kind="connection", subject=f"acme openai{closed}", severity="warning", facts=json.dumps(facts | {"worst": facts, "had": []}),
                                 link="/admin/jobs/connections/", opened_ms=now_ms() - 5000, seen_ms=now_ms(), notify_at=now_ms(), closed_ms=closed))
        db.session.commit()
    viewer = sign_in(ledger.app, "viewer@example.org")
    for accept in ("text/html", "application/json"):
        assert SECRET not in viewer.get("/admin/jobs/alerts/", headers={"Accept": accept}).text


@one_store
def test_the_tokens_of_a_person_share_the_limit_of_dispatches_and_half_of_the_waits(ledger, monkeypatch):
    monkeypatch.setattr(rate_limits, "DISPATCHES", RateLimitItemPerMinute(3))
    api = Api(ledger)
    tokens = [api.make() for _ in range(4)]
    codes = [api.send("TestNoop", {}, token=token).status_code for token in tokens]
    assert codes == [201, 201, 201, 429]
    assert api.send("TestNoop", {}, token=api.make(email="other@example.org")).status_code == 201
    with ExitStack() as held, ledger.app.app_context():
        taken = [held.enter_context(api_wait.place("one")) for _ in range(api_wait.MOST)]
        assert sum(taken) == api_wait.MOST_EACH < api_wait.MOST
        assert held.enter_context(api_wait.place("other"))


def test_counters_of_many_networks_are_bounded(app, monkeypatch):
    monkeypatch.setattr(rate_limits, "MOST_KEYS", 50)
    with app.test_request_context():
        for n in range(500):
            rate_limits.take(rate_limits.GUESSES, f"10.0.{n >> 8}.{n & 255}/32")
        assert len(app.extensions["rate_limits"].storage.events) <= 50


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", ["read", "sent again"])
def test_a_job_that_is_retried_while_it_is_read_is_found(ledger, way):
    """READ COMMITTED: each query sees another moment."""
    api = Api(ledger)
    key = {"Idempotency-Key": "k"}
    uuid = api.send("TestEcho", headers=key).json["uuid"]
    ledger.settle(ledger.claim(), "failed", error="x", retry=False)
    with ledger.app.app_context():
        engine = db.engine
    asked: list[str] = []

    def retry():
        with ledger.app.app_context():
            actions.retry(uuid, "ada")
            db.session.commit()
            db.session.remove()

    def before(_connection, _cursor, statement, *_more):
        if "FROM job_history" in statement and not asked and threading.current_thread() is threading.main_thread():
            asked.append(statement)  # `jobs` was read: now somebody retries
            thread = threading.Thread(target=retry)
            thread.start()
            thread.join(8)

    event.listen(engine, "before_cursor_execute", before)
    try:
        answer = api.get(f"/api/jobs/{uuid}") if way == "read" else api.send("TestEcho", headers=key)
    finally:
        event.remove(engine, "before_cursor_execute", before)
    assert asked and answer.status_code == 200 and answer.json["uuid"] == uuid
