"""The page of reports: plans of one's own and of others, their form, tests, and downloads."""

from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import datetime

import pytest
from sqlalchemy import event

from app.extensions import db
from app.ledger import counts
from app.models import Audit, Mail, ReportPlan, RollupTenant, UsageHour
from app.services.people import accounts
from app.services.reports import plans
from app.support.clock import DAY_MS, HOUR_MS, millis, now_ms
from tests.conftest import PASSWORD, sign_in

JSON = {"Accept": "application/json"}
PLAN = {"name": "Lunedì", "to": "mail:ada@example.org", "period": "week", "weekday": "1", "hour": "7", "language": "it"}


@pytest.fixture
def people(app):
    """`post(who, path, **form)` and `get(who, path)` as a viewer (ada), an operator (bob) and a super-admin (eva)."""
    with app.app_context():
        for email, role in (("ada", "viewer"), ("bob", "operator"), ("eva", "super-admin")):
            accounts.create_user(f"{email}@example.org", role, PASSWORD)
    clients = {email: sign_in(app, f"{email}@example.org") for email in ("ada", "bob", "eva")}

    class People:
        def post(self, who, path, **form):
            return clients[who].post(f"/admin/jobs/reports{path}", data=form | {"csrf_token": clients[who].csrf}, headers=JSON)

        def get(self, who, path, headers=JSON):
            clients[who].set_cookie("lang", "en")
            return clients[who].get(f"/admin/jobs/reports{path}", headers=headers)

        def plans(self, who):
            return {plan["name"]: plan for plan in self.get(who, "/").get_json()["plans"]}
    return People()


def test_each_makes_plans_for_oneself_and_who_manages_for_all(app, people):
    mine = people.post("ada", "/new", **PLAN)
    assert mine.status_code == 200 and (number := mine.get_json()["id"])
    for who, to in (("ada", "mail:bob@example.org"), ("bob", "channel:team"), ("bob", "other")):
        answer = people.post(who, "/new", **PLAN | {"to": to, "address": "eva@example.org"})
        assert answer.status_code == 400 and set(answer.get_json()["fields"]) == {"address" if to == "other" else "to"}, to
    assert people.post("eva", "/new", **PLAN | {"to": "other", "address": "Someone@Outside.EXAMPLE", "name": "fuori"}).status_code == 200
    assert people.post("eva", "/new", **PLAN | {"to": "channel:team"}).status_code == 400  # there is no such channel
    with app.app_context():
        with db.session.begin_nested():
            from app.ledger.dialect import SessionExecutor
            counts.save(SessionExecutor(db.session), "channels", {"team": now_ms()})
        db.session.commit()
    assert people.post("eva", "/new", **PLAN | {"to": "channel:team", "name": "squadra"}).status_code == 200
    assert people.post("bob", "/new", **PLAN | {"to": "channel:team"}).status_code == 400, "also when there is such a channel"
    assert (set(people.plans("ada")), set(people.plans("bob")), set(people.plans("eva"))) == ({"Lunedì"}, set(), {"Lunedì", "fuori", "squadra"})
    assert people.plans("eva")["fuori"]["plan"]["target"] == "mail:Someone@outside.example"
    for path in (f"/{number}", f"/{number}/off", f"/{number}/test", f"/{number}/delete"):
        assert people.post("bob", path, **PLAN).status_code == 404
    assert people.post("ada", f"/{number}/off").status_code == 200 and not people.plans("ada")["Lunedì"]["plan"]["enabled"]
    assert people.post("eva", f"/{number}/on").status_code == 200
    assert people.post("eva", f"/{number}", **PLAN | {"name": "Di Ada"}).status_code == 200  # keeps its target
    assert people.post("ada", f"/{number}/delete").status_code == 200 and people.plans("ada") == {}
    with app.app_context():
        assert [row.action for row in db.session.query(Audit).filter(Audit.action.like("%report plan%")).order_by(Audit.id)] == [
            *["new report plan"] * 3, "switch off report plan", "switch on report plan", "change report plan", "delete report plan"]


@pytest.mark.parametrize(("change", "field"), [
    ({"name": ""}, "name"), ({"name": "x" * 81}, "name"), ({"name": "a\u202eb"}, "name"), ({"period": "year"}, "period"), ({"weekday": "8"}, "weekday"), ({"weekday": ""}, "weekday"),
    ({"period": "month", "monthday": "29"}, "monthday"), ({"period": "month", "monthday": "x"}, "monthday"), ({"hour": "24"}, "hour"), ({"hour": "-1"}, "hour"), ({"hour": "٣"}, "hour"),
    ({"language": "de"}, "language"), ({"to": ""}, "to"), ({"to": "ada@example.org"}, "to"), ({"to": "mail:a@b\r\nBcc: c@d"}, "to"), ({"to": "other", "address": "a@b\r\nBcc: c@d"}, "address"),
    ({"to": "other", "address": ""}, "address"), ({"type": "NoSuchType"}, "type"), ({"tenant": "a b"}, "tenant"), ({"queue": "fast"}, "queue")])
def test_what_does_not_fit_is_said_beside_its_field(people, change, field):
    answer = people.post("eva", "/new", **PLAN | {"to": "mail:eva@example.org"} | change)
    assert answer.status_code == 400 and set(answer.get_json()["fields"]) == {field}


def test_a_person_has_so_many_plans_and_no_more(people, monkeypatch):
    monkeypatch.setattr(plans, "MOST_PLANS", 1)
    assert [people.post("ada", "/new", **PLAN | {"name": name}).status_code for name in "ab"] == [200, 409]
    assert set(people.plans("ada")) == {"a"}
    assert people.post("bob", "/new", **PLAN | {"to": "mail:bob@example.org"}).status_code == 200, "those of others do not count"


def test_who_may_no_longer_send_elsewhere_sees_such_a_plan_and_changes_nothing(app, people):
    number = people.post("eva", "/new", **PLAN | {"to": "other", "address": "x@outside.example"}).get_json()["id"]
    with app.app_context():
        db.session.get(ReportPlan, number).made_by = "bob@example.org"  # who managed when it was made
        db.session.commit()
    assert set(people.plans("bob")) == {"Lunedì"} and not people.plans("ada")
    for path in (f"/{number}", f"/{number}/on", f"/{number}/test", f"/{number}/delete"):
        assert people.post("bob", path, **PLAN).status_code == 403, path


def test_the_mails_of_a_plan_that_is_deleted_are_not_sent(app, people):
    numbers = [people.post("ada", "/new", **PLAN | {"name": name}).get_json()["id"] for name in "ab"]
    with app.app_context():
        for plan, state in ((numbers[0], "waiting"), (numbers[0], "sent"), (numbers[1], "waiting")):
            db.session.add(Mail(kind="report", target="mail:ada@example.org", language="it", plan_id=plan, state=state, next_ms=1, created_ms=1))
        db.session.commit()
    assert people.post("ada", f"/{numbers[0]}/delete").status_code == 200
    with app.app_context():
        assert sorted((mail.plan_id, mail.state) for mail in db.session.query(Mail)) == [(numbers[0], "sent"), (numbers[1], "waiting")]


def test_a_test_is_asked_once_and_its_outcome_stands_beside_the_plan(app, people):
    number = people.post("ada", "/new", **PLAN).get_json()["id"]
    page = people.get("ada", "/", {}).text
    assert "No running monitor can send mails to addresses." in page and "SMTP_URL" in page
    assert people.post("ada", f"/{number}/test").status_code == 200
    assert people.post("ada", f"/{number}/test").status_code == 409  # on its way
    assert people.plans("ada")["Lunedì"]["test"]["state"] == "waiting"
    with app.app_context():
        mail = db.session.query(Mail).one()
        assert (mail.kind, mail.target, mail.plan_id, mail.report_id) == ("test", "mail:ada@example.org", number, None)
        mail.state, mail.error, mail.ended_ms = "dropped", "the mail server refuses the recipient: 550 no", now_ms()
        db.session.commit()
    page = people.get("ada", "/", {}).text
    assert "a test is tried once" in page and "550 no" in page and "Preview" in page
    assert people.post("ada", f"/{number}/test").status_code == 200


def test_the_next_report_is_the_one_that_is_due_next(app, people):
    def since(**change) -> int:
        number = people.post("ada", "/new", **PLAN | change).get_json()["id"]
        with app.app_context():
            return db.session.get(ReportPlan, number).since_ms

    now = now_ms()
    fresh, past = people.plans, since(past="1")
    assert past <= now < since() + 8 * 86_400_000
    shown = fresh("ada")["Lunedì"]
    assert shown["next_at"] and shown["next"]["until"] - shown["next"]["since"] > 6 * 86_400_000


def test_what_was_due_while_a_plan_was_off_is_not_sent(app, people):
    number = people.post("ada", "/new", **PLAN).get_json()["id"]
    people.post("ada", f"/{number}/off")
    with app.app_context():
        wanted = db.session.get(ReportPlan, number).since_ms
        db.session.get(ReportPlan, number).since_ms = now_ms() - 100 * DAY_MS  # as it was made long ago
        db.session.commit()
    people.post("ada", f"/{number}/on")
    with app.app_context():
        assert db.session.get(ReportPlan, number).since_ms >= wanted


def test_a_mail_that_waits_for_a_server_says_why(app, people):
    number = people.post("ada", "/new", **PLAN).get_json()["id"]
    now = now_ms()
    with app.app_context():
        for plan, error in ((number, None), (None, "no answer within 55 s")):
            db.session.add(Mail(kind="report", target="mail:ada@example.org", language="it", plan_id=plan, error=error, next_ms=now + 30_000, created_ms=now))
        db.session.commit()
    told = people.plans("ada")["Lunedì"]["report"]
    assert told["error"] == "no answer within 55 s" and told["attempts"] == 0 and told["next_at"]
    assert "no answer within 55 s" in people.get("ada", "/", {}).text


def test_a_report_of_any_period_and_filter_is_a_file(people):
    for query, kind, start, name in (("period=day", "application/pdf", b"%PDF-", ".pdf"), ("format=html&lang=it", "text/html", b"<!doctype html>", ".html"),
                                     ("format=txt&lang=en&period=7d&queue=high", "text/plain", b"Report", ".txt"), ("format=csv&from=2026-11-01", "application/zip", b"PK", "-csv.zip")):
        answer = people.get("ada", f"/report?{query}", {})
        assert answer.status_code == 200 and answer.content_type.startswith(kind) and answer.content_type.count("charset") < 2 and answer.data.startswith(start), query
        assert f"{name}" in answer.headers["Content-Disposition"] and answer.headers["Content-Disposition"].startswith("attachment")
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert "sends it to this address" not in people.get("ada", "/report?format=txt&lang=en", {}).text
    assert "not over" in people.get("ada", "/report?format=txt&lang=en&period=24h", {}).text[:900]
    assert archive.testzip() is None and len(archive.namelist()) > 1
    for query, field in (("format=doc", "format"), ("lang=de", "lang"), ("period=year", "period"), ("from=x", "from"), ("from=2026-11-20&until=2026-11-10", "from"), ("type=NoSuchType", "type"), ("from=1900-01-01&until=2026-11-10", "from"), ("until=1900-02-28", "until"),
                         ("queue=x", "queue"), ("tenant=a+b", "tenant"), ("period=week&from=2026-11-01", "period")):
        answer = people.get("ada", f"/report?{query}")
        assert answer.status_code == 400 and set(answer.get_json()["fields"]) == {field}, query
        page = people.get("ada", f"/report?{query}", {})
        assert page.status_code == 400 and f'id="e-{field}"' in page.text
    assert people.get("ada", "/report?tennant=x").status_code == 400
    assert json.loads(people.get("ada", "/report?periode=x").data)["error"]


def test_a_plan_that_rests_says_why_and_who_saves_it_takes_it_over(app, people):
    with app.app_context():
        accounts.create_user("old@example.org", "super-admin", PASSWORD)
        for target, by in (("mail:out@elsewhere.example", "old@example.org"), ("mail:bob@example.org", "old@example.org"), ("mail:ada@example.org", "ada@example.org")):
            db.session.add(ReportPlan(name=target, target=target, period="week", language="it", made_by=by, created_ms=1, since_ms=1))
        db.session.commit()
    assert not any(plan["rests"] for plan in people.plans("eva").values())
    with app.app_context():
        accounts.set_role("old@example.org", "operator", "eva@example.org")
        accounts.disable("bob@example.org", "eva@example.org")
    plans = people.plans("eva")
    outside, bob = plans["mail:out@elsewhere.example"], plans["mail:bob@example.org"]
    assert outside["rests"] and outside["why_rests"].startswith("old@example.org, who made this plan, may not") and outside["next_at"] is None
    assert bob["rests"] and "bob@example.org is disabled" in bob["why_rests"] and not plans["mail:ada@example.org"]["rests"]
    for page in ("/", f"/{outside['id']}"):
        assert "takes it over by saving it" in people.get("eva", page, {}).text
    assert people.post("eva", f"/{outside['id']}/test").status_code == 409
    before = now_ms()
    for plan in (outside, bob, plans["mail:ada@example.org"]):
        assert people.post("eva", f"/{plan['id']}", **PLAN | {"to": plan["plan"]["target"], "name": plan["name"]}).status_code == 200
    plans = people.plans("eva")
    assert not plans["mail:out@elsewhere.example"]["rests"] and plans["mail:out@elsewhere.example"]["plan"]["since_ms"] > before  # what was due meanwhile is not sent
    assert plans["mail:bob@example.org"]["rests"]
    assert [plans[name]["plan"]["made_by"] for name in sorted(plans)] == ["ada@example.org", "old@example.org", "eva@example.org"]
    assert people.post("eva", f"/{plans['mail:ada@example.org']['id']}", **PLAN | {"to": "other", "address": "new@elsewhere.example", "name": "x"}).status_code == 200
    assert people.plans("eva")["x"]["plan"]["made_by"] == "eva@example.org"  # ada may not send there


def test_the_page_asks_as_many_queries_for_two_hundred_plans_as_for_one(ledger):
    ledger.app.testing = True
    with ledger.app.app_context():
        accounts.create_user("eva@example.org", "super-admin", PASSWORD)
    client, seen, counted = sign_in(ledger.app, "eva@example.org"), [], []
    with ledger.app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    now = now_ms()
    for n in (1, 199):
        for k in range(n):
            ledger.change("INSERT INTO report_plans (name, target, period, language, made_by, created_ms, since_ms) VALUES (:t, :t, 'day', 'en', :t, 1, 1)", t=f"mail:p{n}-{k}@example.org")
        ledger.change("DELETE FROM reports"), ledger.change("DELETE FROM mails")
        for at in (1, 2, 40):  # the last is one of the future, by a clock that was ahead
            ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) SELECT id, :a, :b, '{}', 1 FROM report_plans", a=now + (at - 4) * DAY_MS, b=now + (at - 3) * DAY_MS)
        for kind, state in (("report", "sent"), ("report", "waiting"), ("test", "dropped")):
            ledger.change("INSERT INTO mails (kind, target, language, plan_id, state, next_ms, created_ms) SELECT :k, target, 'it', id, :s, 1, 1 FROM report_plans", k=kind, s=state)
        seen.clear()
        shown = client.get("/admin/jobs/reports/", headers=JSON).get_json()["plans"]
        counted.append(len(seen))
        assert len(shown) == min(n + len(counted) - 1, 200)
        for plan in (shown[0], shown[-1]):
            assert plan["report"]["state"] == "waiting" and plan["test"]["state"] == "dropped"
            assert millis(datetime.fromisoformat(plan["sent_until"])) == now - DAY_MS
        seen.clear()
        client.get("/admin/jobs/reports/", headers=JSON | {"X-Partials": "none"})
        assert not any("FROM report_plans" in text for text in seen)
    assert counted[0] == counted[1] < 30


def test_a_tenant_of_which_no_job_is_known_is_said(app, people):
    """In the report, when the plan is saved, and beside the field of the plan; a new tenant may have a plan all the same."""
    with app.app_context():
        db.session.add(RollupTenant(hour=now_ms() // HOUR_MS * HOUR_MS, job_type="T", tenant_id="acme", status="completed", count=1, time_ms=1, wait_ms=1))
        db.session.add(UsageHour(scope="tenant", name="acme", hour=now_ms() // HOUR_MS * HOUR_MS, completed=1, failed=0, attempts=1, busy_ms=1, waits=b"", runs=b"", memory=b""))
        db.session.commit()
    saved = people.post("ada", "/new", **PLAN | {"tenant": "acmee"}).get_json()
    assert "acmee" in saved["hint"] and saved["hint"].endswith("acme?") and "hint" not in people.post("ada", "/new", **PLAN | {"tenant": "acme", "name": "known"}).get_json()
    page = people.get("ada", f"/{saved['id']}", {}).text
    assert re.search(r'aria-describedby="h-tenant".*<p class="hint" id="h-tenant">No job has the tenant acmee. Did you mean acme\?</p>', page, re.DOTALL)
    assert "No job has the tenant" not in people.get("ada", f"/{people.plans('ada')['known']['id']}", {}).text
    for tenant, told in (("nope", True), ("acme", False)):
        text = people.get("ada", f"/report?period=week&format=txt&lang=en&tenant={tenant}").text
        said = "No job of this tenant is known" in " ".join(text.split())
        assert said == told and ("Nothing needs attention." in text) != told, tenant
