"""Pauses on the dashboard: who, since and until when, why, how many wait, and the button that ends them; and the rules of alerts about them."""

from __future__ import annotations

import html
import re

import pytest

from app import registry
from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import Connection
from tests.controllers.test_live import DASHBOARD, poll


def page(admin, path: str = "", language: str = "en") -> str:
    answer = admin.get(f"/admin/jobs/{path}", headers={"Accept-Language": language})
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def strips(text: str) -> list[str]:
    found = re.findall(r'<div class="strip w" data-key="pause-.*?</form>', text, re.S)
    return [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", strip))).strip() for strip in found]


@pytest.fixture
def paused(admin, app):
    """A queue with 2 ready jobs, paused with an end, and a type with 1 job, paused without one."""
    with app.app_context():
        for name, queue in (("TestNoop", "low"), ("TestNoop", "low"), ("TestSleep", "high")):
            registry.find(name).with_options(queue=queue).dispatch()
        db.session.commit()
    for path, minutes, reason in (("queues/low", "60", "<b>prices</b> are wrong"), ("types/TestSleep", "", "")):
        answer = admin.post(f"/admin/jobs/{path}/pause", data={"csrf_token": admin.csrf, "minutes": minutes, "reason": reason})
        assert answer.status_code == 303


def test_each_pause_stands_on_the_dashboard(admin, paused):
    queue, kind = strips(page(admin))
    assert queue.startswith("Queue low: Paused by admin@example.org, ") and "«<b>prices</b> are wrong». It ends in " in queue
    assert "2 jobs wait because of it" in queue and queue.endswith(". Queues Resume")
    assert kind.startswith("Type Test Sleep: Paused by admin@example.org, ") and "Stopped until somebody resumes it. 1 job waits" in kind
    live = poll(admin, "realtime-stats", DASHBOARD, **{"Accept-Language": "en"}).json
    assert strips(live["partials"]["notices"]) == [queue, kind]
    assert [(p["name"], p["job_type"], p["waiting"], p["by"], p["reason"], p["until"] is None) for p in live["pauses"]] == [
        ("low", None, 2, "admin@example.org", "<b>prices</b> are wrong", False), ("type:TestSleep", "TestSleep", 1, "admin@example.org", None, True)]
    assert strips(page(admin, language="it"))[0].startswith("Coda low: In pausa da parte di admin@example.org")


def test_the_numbers_are_those_of_their_links(admin, paused):
    links = re.findall(r'<a href="([^"]+)">(\d+) jobs? waits? because', page(admin))
    assert len(links) == 2
    for address, n in links:
        assert len(admin.get(html.unescape(address), headers={"Accept": "application/json"}).json["jobs"]) == int(n)


def test_the_button_ends_a_pause_and_leads_back(admin, paused):
    forms = re.findall(r'<form method="post" action="([^"]+/resume)"', page(admin))
    assert forms == ["/admin/jobs/queues/low/resume", "/admin/jobs/types/TestSleep/resume"]
    for n, path in enumerate(forms):
        assert admin.post(path, data={"next": "/admin/jobs/"}).status_code == 400, "without the token"
        answer = admin.post(path, data={"csrf_token": admin.csrf, "next": "/admin/jobs/"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/jobs/")
        assert len(strips(page(admin))) == 1 - n
    assert admin.get("/admin/jobs/realtime-stats").json["pauses"] == []


def test_what_a_restore_has_paused_is_said(admin, app):
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        counts.save(tx, counts.AFTER_RESTORE, True)
        tx.execute("INSERT INTO queues (name, paused_at, paused_by, reason) VALUES ('low', :now, 'restore', 'restored from a backup')", now=tx.now())
    connection.close()
    text = page(admin)
    assert "Schedules and alerts are paused since a restore, until somebody runs jobs resume --all" in text
    assert strips(text)[0].startswith("Queue low: Paused by restore, ") and "No job waits because of it" in strips(text)[0]
    assert "ripristinato" in strips(page(admin, language="it"))[0]


@pytest.mark.parametrize(("kind", "threshold"), [("paused", "over 1 h"), ("late", "over 4 h")])
def test_the_new_rules_are_edited_like_the_others(admin, app, kind, threshold):
    rules = {r["kind"]: r for r in admin.get("/admin/jobs/alerts/", headers={"Accept": "application/json"}).json["rules"]}
    assert (rules[kind]["unit"], rules[kind]["uses"]) == ("min", ["queue", "job_type"])
    assert threshold in page(admin, "alerts/")
    path = f"alerts/rules/{rules[kind]['id']}"
    text = page(admin, path)
    assert "Threshold (minutes)" in text and 'name="queue"' in text and 'name="job_type"' in text and 'name="window_min"' not in text
    sent = {"csrf_token": admin.csrf, "threshold": "90", "queue": "low", "cooldown_min": "5", "severity": "critical", "channels": "*"}
    assert admin.post(f"/admin/jobs/{path}", data=sent).status_code == 303
    assert "over 1 h 30 min" in page(admin, "alerts/") and page(admin, f"alerts/rules/new?kind={kind}")


def test_an_alert_of_a_pause_is_not_told_twice_on_the_dashboard(admin, app, paused):
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        for kind, facts in (("paused", '{"queue": "low", "ms": 9000000, "until_ms": null, "reason": null, "n": 2, "limit": 60, "by": "ada", "since_ms": 1}'),
                            ("disk", '{"percent": 3.5, "limit": 10}')):
            tx.execute("INSERT INTO alerts (rule_id, kind, severity, facts, opened_ms, seen_ms, tell_ms) VALUES (:rule, :k, 'warning', :f, :now, :now, :now)",
                       rule=len(kind), k=kind, f=facts, now=tx.now())
    connection.close()
    text = page(admin)
    assert "Disk nearly full:" in text and "Paused for long" not in text and len(strips(text)) == 2
    assert "Paused for long:" in page(admin, "alerts/") and admin.get("/admin/jobs/realtime-stats").json["alerts"] == {"open": 2}
