"""Forms that do not fit: each error stands beside its field, in the reader's language, and what was typed stays."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import select

from app.extensions import db
from app.jobs import job
from app.ledger.dialect import Connection
from app.models import AlertRule, Job, PromptTemplate, Queue, TenantBudget
from app.services.content import costs
from tests.conftest import token_in
from tests.controllers.test_gate import JSON


@job("TestNames", tries=1)
def names(queue: str, delay: int = 0, tenant_id: str = "", type: str = "", next: str = "", like: str = "") -> None:
    return None


FORMS = {
    "costs/budgets": ({"tenant": "a b", "amount": "many", "currency": "euro", "hold": "1"}, {"tenant", "amount", "currency"}),
    "generations/templates": ({"tenant": "a b", "name": "<x>", "body": "no place"}, {"tenant", "name", "body"}),
    "queues/low/pause": ({"minutes": "0", "reason": "price list"}, {"minutes"}),
    "types/TestEcho/pause": ({"minutes": "soon", "reason": "price list"}, {"minutes"}),
    "alerts/rules/1": ({"threshold": "many", "window_min": "", "cooldown_min": "-1", "severity": "loud", "queue": "nowhere", "tenant_id": "a b",
                        "quiet_from": "25:00", "channels": "nobody"},
                       {"threshold", "window_min", "cooldown_min", "severity", "queue", "tenant_id", "quiet_from", "channels"}),
}


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("language,required", [("en", "This field is required."), ("it", "Questo campo è obbligatorio.")])
def test_every_error_stands_beside_its_field_and_what_was_typed_stays(admin, app, path, language, required):
    sent, wrong = FORMS[path]
    answer = admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf} | sent, headers={"Accept-Language": language})
    page = answer.text
    assert answer.status_code == 400 and page.count('class="wrong"') == len(wrong)
    for name in wrong:
        assert f'id="e-{name}"' in page and f'aria-describedby="e-{name}"' in page, name
    assert page.count('aria-invalid="true"') == len(wrong - {"channels"})
    assert (required in page) is ("" in sent.values())
    for value in set(sent.values()) - {"", "1", "nobody"} - ({"0", "soon"} & set(sent.values())):
        assert value.replace("<", "&lt;").replace(">", "&gt;") in page, value
    assert token_in(page) and page.count('name="csrf_token"') == page.count('method="post"'), "one token a form"
    for_scripts = admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf} | sent, headers=JSON)
    assert for_scripts.status_code == 400 and set(for_scripts.json) == {"error", "fields"} and set(for_scripts.json["fields"]) == wrong
    with app.app_context():
        assert db.session.get(AlertRule, 1).channels == "*" and not db.session.scalar(db.select(Queue).where(Queue.paused_at.is_not(None)))
        assert not db.session.query(TenantBudget).count() + db.session.query(PromptTemplate).count()


def test_others_may_write_while_the_page_of_a_form_with_errors_is_made(admin, app, monkeypatch):
    written, real = [], costs.budgets

    def budgets():
        other = Connection(app.extensions["settings"].database_url)
        with other.transaction() as tx:
            written.append(tx.execute("UPDATE alert_rules SET enabled = enabled"))
        other.close()
        return real()

    monkeypatch.setattr(costs, "budgets", budgets)
    assert admin.post("/admin/jobs/costs/budgets", data={"csrf_token": admin.csrf, "tenant": "a b"}).status_code == 400
    assert written and written[0]


def test_a_budget_of_nothing_is_one(admin, app):
    for amount, kept in (("0", 0), ("49,90", 49_900_000_000), ("", None)):
        sent = {"csrf_token": admin.csrf, "tenant": "acme", "amount": amount, "currency": "eur"}
        assert admin.post("/admin/jobs/costs/budgets", data=sent).status_code == 303
        with app.app_context():
            row = db.session.get(TenantBudget, "acme")
            assert (row and (row.month_nano, row.currency)) == (None if kept is None else (kept, "EUR"))


@pytest.mark.parametrize("value", [10.05, 0.0, 7.0, 1_000_000.0])
def test_a_threshold_is_shown_as_it_is_kept(admin, app, value):
    """Of a rule in minutes: those that count jobs or workers take whole numbers only."""
    with app.app_context():
        rule = db.session.scalar(select(AlertRule).where(AlertRule.kind == "oldest"))
        rule.threshold, number = value, rule.id
        db.session.commit()
    page = admin.get(f"/admin/jobs/alerts/rules/{number}").text
    shown = re.search(r'id="f-threshold"[^>]*', page) and re.search(r'value="([^"]*)"[^>]*id="f-threshold"', page)[1]
    assert float(shown.replace(",", ".")) == value and not shown.endswith(",0"), "as the reader (of Italian here) writes it"
    sent = {"csrf_token": admin.csrf, "threshold": shown, "window_min": "60", "cooldown_min": "15", "channels": "*"}
    assert admin.post(f"/admin/jobs/alerts/rules/{number}", data=sent).status_code == 303
    with app.app_context():
        assert db.session.get(AlertRule, number).threshold == value


def test_sign_in_names_what_is_missing_and_keeps_the_address(client):
    sent = {"email": "ada@example.org", "password": "", "csrf_token": token_in(client.get("/login").text)}
    answer = client.post("/login", data=sent, headers={"Accept-Language": "it"})
    assert answer.status_code == 401 and 'value="ada@example.org"' in answer.text
    assert 'id="e-password">Questo campo è obbligatorio.' in answer.text and "e-email" not in answer.text
    wrong = client.post("/login", data=sent | {"password": "not that one"})
    assert wrong.status_code == 401 and 'role="alert"' in wrong.text and "not that one" not in wrong.text
    assert list(client.post("/login", data=sent, headers=JSON).json) == ["error"]


def test_an_argument_may_be_called_like_a_field_of_the_form(admin, app):
    page = admin.get("/admin/jobs/new/?type=TestNames").text
    for name in ("queue", "delay", "tenant_id", "type", "next", "option-queue", "option-delay", "option-tenant", "option-type"):
        assert page.count(f'name="{name}"') == 1, name
    args = {"queue": "of books", "delay": "3", "tenant_id": "t", "type": "novel", "next": "/admin/jobs/log", "like": "this"}
    sent = {"csrf_token": admin.csrf, "option-type": "TestNames", "option-queue": "low", "option-delay": "60", "option-tenant": "acme"} | args
    answer = admin.post("/admin/jobs/new/", data=sent)
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location
    with app.app_context():
        row = db.session.scalar(db.select(Job))
        assert json.loads(row.payload)["args"] == args | {"delay": 3}
        assert (row.queue, row.tenant_id, row.state) == ("low", "acme", "scheduled")
        uuid = row.uuid
    assert admin.post(f"/admin/jobs/new/edit/{uuid}", data={"csrf_token": admin.csrf} | args | {"queue": "other"}).location == f"/admin/jobs/job/{uuid}"
    wrong = admin.post("/admin/jobs/new/", data=sent | {"option-queue": "fast", "queue": ""}, headers=JSON).json["fields"]
    assert set(wrong) == {"option-queue", "queue"}
    again = admin.post("/admin/jobs/new/", data=sent | {"option-delay": "-1"})
    assert again.status_code == 400 and 'value="of books"' in again.text and 'value="-1"' in again.text and 'value="acme"' in again.text
    with pytest.raises(ValueError, match="csrf_token"):
        job("TestToken")(lambda csrf_token: None)


def test_scripts_may_leave_the_prefix_out(admin, app):
    sent = {"csrf_token": admin.csrf, "type": "TestEcho", "text": "x", "queue": "low", "tenant": "acme", "delay": "60"}
    assert admin.post("/admin/jobs/new/", data=sent, headers=JSON).json["ok"]
    with app.app_context():
        assert [(r.queue, r.tenant_id, r.state) for r in db.session.scalars(db.select(Job))] == [("low", "acme", "scheduled")]
    assert set(admin.post("/admin/jobs/new/", data=sent | {"queue": "fast"}, headers=JSON).json["fields"]) == {"queue"}
