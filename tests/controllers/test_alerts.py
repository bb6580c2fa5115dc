"""The alerts page: what is wrong, taking and silencing it, rules checked field by field, and no address of a channel anywhere."""

from __future__ import annotations

import json
import re

import pytest

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection
from app.models import Alert, AlertMessage, AlertRule, Audit
from app.services.alerts import incident_views
from app.services.alerts.checks import KINDS
from app.services.alerts.snapshot import SCOPES
from app.support.clock import stamp


@pytest.fixture
def wrong(app):
    """An open alert and a channel."""
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("INSERT INTO alerts (rule_id, kind, severity, facts, link, opened_ms, seen_ms, tell_ms) VALUES "
                "(1, 'failures', 'critical', '{\"n\": 7, \"minutes\": 60, \"limit\": 5}', '/admin/jobs/list?state=unsuccessful', :now, :now, :now)", now=tx.now())
        counts.save(tx, "channels", ["team"])
    connection.close()
    return 1


def post(admin, path: str, **fields):
    return admin.post(f"/admin/jobs/alerts/{path}", data={"csrf_token": admin.csrf} | fields)


def page(admin, path: str = "/admin/jobs/alerts/") -> str:
    answer = admin.get(path, headers={"Accept-Language": "en"})
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_an_open_alert_stands_on_its_page_on_the_dashboard_and_in_the_title(admin, wrong):
    for text in (page(admin), page(admin, "/admin/jobs/")):
        assert "<strong>Too many failures:</strong> 7 failures in 60 min, threshold 5." in text
        assert "<title>(!) " in text
    assert admin.get("/admin/jobs/realtime-stats").json["alerts"] == {"open": 1}
    assert "Troppi fallimenti:" in admin.get("/admin/jobs/alerts/", headers={"Accept-Language": "it"}).get_data(as_text=True)


def test_take_silence_and_end_the_silence(admin, wrong):
    assert post(admin, "1/snooze", minutes="240").status_code == 303
    assert "End silence" in page(admin) and "<title>(!)" not in page(admin)
    assert post(admin, "1/unsnooze").status_code == 303
    assert post(admin, "1/ack").status_code == 303
    text = page(admin)
    assert "Acknowledged by admin@example.org." in text and ">Acknowledge<" not in text
    again = admin.post("/admin/jobs/alerts/1/ack", data={"csrf_token": admin.csrf}, headers={"Accept": "application/json"})
    assert again.status_code == 409
    assert post(admin, "99/ack").status_code == 404
    with admin.application.app_context():
        assert [a.action for a in db.session.query(Audit).order_by(Audit.id)][-3:] == ["silence alert", "end silence", "acknowledge alert"]


@pytest.mark.parametrize("minutes", ["x", "-5", "0", "nan", "9" * 30, "", "10081", "٣"])
def test_a_silence_that_is_no_time_is_refused(admin, wrong, minutes):
    answer = admin.post("/admin/jobs/alerts/1/snooze", data={"csrf_token": admin.csrf, "minutes": minutes}, headers={"Accept": "application/json", "Accept-Language": "en"})
    assert (answer.status_code, answer.json) == (400, {"error": "A silence lasts from 1 to 10080 minutes."})
    with admin.application.app_context():
        assert incident_views.open_alerts()[0].snoozed_until is None


@pytest.mark.parametrize("path", ["1/ack", "1/snooze", "rules/1", "rules/1/off", "channels/team/test"])
def test_others_may_not(user_client, wrong, path):
    assert user_client.post(f"/admin/jobs/alerts/{path}").status_code == 403


def test_a_rule_is_changed_and_each_wrong_field_is_told(admin):
    good = {"threshold": "7", "window_min": "30", "cooldown_min": "5", "severity": "warning", "queue": "high", "tenant_id": "acme", "job_type": "TestFail",
            "quiet_from": "22:00", "quiet_until": "07:00", "channels": "*"}
    assert post(admin, "rules/1", **good).status_code == 303
    with admin.application.app_context():
        row = db.session.get(AlertRule, 1)
        assert (row.threshold, row.window_min, row.queue, row.tenant_id, row.quiet_from, row.channels) == (7, 30, "high", "acme", "22:00", "*")
    assert "more than 7 in 30 min" in admin.get("/admin/jobs/alerts/", headers={"Accept-Language": "en"}).text
    for field, value in [("threshold", "many"), ("threshold", "-1"), ("threshold", "1.5"), ("job_type", "abc"), ("window_min", "0"), ("window_min", "99999"), ("cooldown_min", ""), ("severity", "loud"),
                         ("queue", "nowhere"), ("tenant_id", "a b"), ("job_type", "x; drop"), ("quiet_from", "25:00"), ("quiet_until", ""), ("channels", "nobody")]:
        answer = admin.post("/admin/jobs/alerts/rules/1", data={"csrf_token": admin.csrf} | good | {field: value}, headers={"Accept": "application/json"})
        assert answer.status_code == 400, (field, value)
        assert {"quiet_until": "quiet_from"}.get(field, field) in answer.json["fields"]
        assert post(admin, "rules/1", **good | {field: value}).status_code == 400


@pytest.mark.parametrize(("kind", "threshold", "good"), [("worker", "1.5", False), ("worker", "1", True), ("no_worker", "0.5", False), ("rescued", "2,0", False), ("critical_job", "1.5", False),
                                                         ("paused", "1.5", True), ("growing", "2,5", True), ("disk", "7.5", True)])
def test_a_threshold_that_counts_is_a_whole_number(admin, kind, threshold, good):
    sent = {"csrf_token": admin.csrf, "kind": kind, "threshold": threshold, "cooldown_min": "15", "severity": "critical", "minimum": "1", "window_min": "60"}
    answer = admin.post("/admin/jobs/alerts/rules/new", data=sent, headers={"Accept": "application/json", "Accept-Language": "en"})
    assert (answer.status_code == 200) == good, answer.json
    assert good or answer.json["fields"] == {"threshold": "A whole number from 0 to 1000000."}


@pytest.mark.parametrize(("kind", "field"), [(name, field) for name, kind in KINDS.items() for field in kind.uses if field in SCOPES])
def test_a_rule_for_what_does_not_exist_is_refused(admin, kind, field):
    sent = {"csrf_token": admin.csrf, "kind": kind, "threshold": "1", "cooldown_min": "15", "severity": "critical", "minimum": "1", "window_min": "60", field: "no such"}
    answer = admin.post("/admin/jobs/alerts/rules/new", data=sent, headers={"Accept": "application/json", "Accept-Language": "en"})
    assert answer.status_code == 400 and list(answer.json["fields"]) == [field]
    if field != "tenant_id":  # any text may be a tenant
        assert admin.post("/admin/jobs/alerts/rules/new", data=sent | {field: "abc"}, headers={"Accept": "application/json"}).status_code == 400


def test_the_rule_of_missing_workers_counts_workers(admin):
    with admin.application.app_context():
        id_ = db.session.query(AlertRule).filter_by(kind="worker").one().id
    assert "Threshold (workers)" in page(admin, f"/admin/jobs/alerts/rules/{id_}") and "more than 0 workers" in page(admin)
    assert "più di 0 worker" in admin.get("/admin/jobs/alerts/", headers={"Accept-Language": "it"}).text


def test_a_type_that_is_gone_stays_in_the_form_of_its_rule(admin):
    with admin.application.app_context():
        db.session.get(AlertRule, 1).job_type = "Gone"
        db.session.commit()
    assert '<option value="Gone" selected>Gone</option>' in page(admin, "/admin/jobs/alerts/rules/1")


def test_an_alert_that_is_over_does_not_stand_as_if_it_were_true(admin, app, wrong):
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("UPDATE alerts SET facts = :f", f=json.dumps({"n": 6, "minutes": 60, "limit": 5, "over_ms": tx.now() - 14_000}))
    connection.close()
    for path in ("/admin/jobs/alerts/", "/admin/jobs/"):
        text = page(admin, path)
        assert re.search(r"<strong>Too many failures:</strong> Over since \d\d:\d\d:\d\d, watched until \d\d:\d\d:\d\d in case it comes back. It was: 6 failures", text)
        assert '<div class="strip w"' in text and '<div class="strip"' not in text
    assert "Finito dalle " in admin.get("/admin/jobs/alerts/", headers={"Accept-Language": "it"}).text


def test_values_are_said_in_sane_forms(admin, app):
    connection = Connection(app.extensions["settings"].database_url)
    values = {"worker_memory": 1.517, "box_memory": 27.936, "paused": 0, "oldest": 0.5}
    with connection.transaction() as tx:
        ids = {kind: id_ for id_, kind in tx.fetch_all("SELECT id, kind FROM alert_rules")}
        counts.save(tx, "alerts", {"values": {ids[kind]: value for kind, value in values.items()}})
    connection.close()
    text = page(admin)
    assert "1.5 %" in text and "27.9 %" in text and "30 s" in text and "0 ms" not in text and "1.517" not in text


def test_rescued_jobs_stand_once_on_the_dashboard(admin, app):
    connection = Connection(app.extensions["settings"].database_url)
    insert = """INSERT INTO alerts (rule_id, kind, severity, facts, link, opened_ms, seen_ms, tell_ms) VALUES (1, 'rescued', 'critical', '{"n": 1, "minutes": 60}', '', 1, 1, 1)"""
    with connection.transaction() as tx:
        tx.execute(insert)
    assert "1 attempt was lost with its worker in " in page(admin, "/admin/jobs/")
    with connection.transaction() as tx:
        tx.execute("INSERT INTO job_metrics (uuid, claim_no, round, status, job_type, queue, processing_time, attempts, completed_at) VALUES ('u', 1, 1, 'lost', 'TestNoop', 'low', 1, 1, :at)", at=stamp(tx.now()))
    connection.close()
    text = page(admin, "/admin/jobs/")
    assert "1 attempt was lost with its worker in 24 hours" in text and text.count("was lost with its worker") == 1 and "ever rescued" not in text


def test_rules_are_made_switched_and_deleted(admin):
    assert "Queue grows" in page(admin, "/admin/jobs/alerts/rules/new")
    assert post(admin, "rules/new", kind="oldest", threshold="2", cooldown_min="15", severity="critical", queue="high").status_code == 303
    with admin.application.app_context():
        new = db.session.query(AlertRule).order_by(AlertRule.id.desc()).first()
        assert (new.kind, new.threshold, new.queue, new.channels) == ("oldest", 2.0, "high", "")
        id_ = new.id
    assert post(admin, f"rules/{id_}/off").status_code == 303
    asked = admin.post(f"/admin/jobs/alerts/rules/{id_}/delete", data={"csrf_token": admin.csrf, "ask": "1"}, headers={"Accept-Language": "en"}).get_data(as_text=True)
    assert "Delete the rule A job waits too long?" in asked and "Its open alerts end without a message." in asked
    with admin.application.app_context():
        assert db.session.get(AlertRule, id_), "asked, not done"
    assert post(admin, f"rules/{id_}/delete").status_code == 303
    assert post(admin, f"rules/{id_}/delete").status_code == 404
    assert post(admin, "rules/new", kind="nonsense").status_code == 404
    assert admin.get("/admin/jobs/alerts/rules/4711").status_code == 404
    assert admin.get(f"/admin/jobs/alerts/rules/{2**70}").status_code == 404


def test_a_test_message_is_left_to_the_monitor(admin, wrong):
    assert post(admin, "channels/team/test").status_code == 303
    assert post(admin, "channels/elsewhere/test").status_code == 404
    with admin.application.app_context():
        assert [(m.channel, m.phase, m.state) for m in db.session.query(AlertMessage)] == [("team", "test", "waiting")]
        assert db.session.query(Alert).count() == 1


def test_messages_that_no_monitor_can_send_are_said(admin, app):
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        for phase in ("open", "over"):
            tx.execute("INSERT INTO alert_messages (alert_id, channel, phase, title, body, next_ms, created_ms) VALUES (1, 'gone', :p, 't', 'b', :now, :now)",
                    p=phase, now=tx.now())
    connection.close()
    assert "2 messages wait: no running monitor has this channel in its ALERT_URLS" in page(admin)
    shown = admin.get("/admin/jobs/alerts/", headers={"Accept": "application/json"}).json["channels"]["gone"]
    assert (shown["live"], shown["waiting"]) == (False, 2)
    assert post(admin, "channels/gone/test").status_code == 404
