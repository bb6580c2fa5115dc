"""What a token of one scope must not learn, limits of a person with many tokens, and jobs that move while they are read."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from flask import g
from limits import RateLimitItemPerMinute
from sqlalchemy import event, select

from app.controllers import access, api_wait, rate_limits, rights
from app.extensions import db
from app.models import Alert, AlertRule
from app.services.audit import ActionRefused
from app.services.jobs import actions
from app.services.people import accounts, tokens
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


@one_store
def test_only_tokens_in_use_count_to_those_that_an_account_may_have(ledger, monkeypatch):
    monkeypatch.setattr(tokens, "MOST_TOKENS", 2)
    api = Api(ledger)
    api.make()
    for change in ("expires_ms = 1", "revoked_ms = 1"):
        with pytest.raises(ActionRefused, match="2 tokens"):
            api.make()
        ledger.change(f"UPDATE api_tokens SET {change} WHERE id = (SELECT MAX(id) FROM api_tokens)")
        api.make()


@one_store
def test_a_token_that_outlived_the_disabling_of_its_account_is_refused(ledger):
    """One that was made at the same moment."""
    api = Api(ledger)
    ledger.change("UPDATE users SET disabled_ms = 1")
    assert api.get("/api/jobs").status_code == 401


@one_store
def test_what_a_viewer_and_each_scope_may_ask_for_is_written_here_too(ledger):
    api = Api(ledger)
    paths = {"read": ("GET", "/api/jobs/x/log"), "act": ("POST", "/api/jobs/x/cancel"), "dispatch": ("POST", "/api/uploads")}
    for scope in paths:
        token = api.make(scopes=(scope,))
        assert {name for name, (method, path) in paths.items() if api.ask(method, path, token).status_code != 403} == {scope}
    viewer = api.make("viewer", ("read", "act", "dispatch"), "viewer@example.org")
    assert {api.ask(method, path, viewer).status_code for method, path in paths.values()} == {403}
    answer = api.get("/api/jobs", token=viewer)
    assert answer.status_code == 200 and "Authorization" in answer.vary, "no cache gives it to another token"
    page = sign_in(ledger.app, "viewer@example.org")
    refused = page.post("/account/tokens", data={"csrf_token": page.csrf, "name": "n", "scope": ["dispatch"], "days": "7", "own_password": PASSWORD}, headers={"Accept": "application/json"})
    assert refused.status_code == 400 and list(refused.json["fields"]) == ["scope"]


@pytest.mark.parametrize(("rights_", "hidden", "searching"), [
    (rights.of_role("viewer", False), True, True), (rights.of_role("viewer", True), False, False),
    (rights.of_token(rights.of_role("operator", False), ["dispatch"]), False, True)], ids=["viewer", "seeing", "dispatch"])
def test_the_answer_to_a_form_hides_data_from_who_may_change_no_job(app, rights_, hidden, searching):
    with app.test_request_context(method="POST"):
        g._login_user = SimpleNamespace(is_authenticated=True, rights=rights_)
        assert (access.hides_data(False), access.hides_data(True)) == (hidden, searching)


def test_the_limits_are_those_that_are_told():
    limits = [(item.amount, item.get_expiry()) for item in (rate_limits.REQUESTS, rate_limits.DISPATCHES, rate_limits.GUESSES)]
    assert limits == [(600, 60), (120, 60), (20, 900)]


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
