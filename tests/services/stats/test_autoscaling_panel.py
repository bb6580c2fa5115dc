"""The panel "Autoscaling" of the workers page, its JSON, and the log of one actor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.services import audit
from app.services.people import accounts
from app.support.messages import Message
from tests.conftest import PASSWORD, sign_in


@pytest.fixture
def client(ledger):
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    return sign_in(ledger.app, "admin@example.org")


def consumer(ledger, name: str, least: int, most: int) -> None:
    ledger.change("INSERT INTO consumers (consumer_id, host, process_id, queue, wanted, least, most, started_ms, beat_ms) "
                  "VALUES (:c, 'box', 7, 'high,low', 2, :least, :most, 1, 1)", c=name, least=least, most=most)


def page(client, language: str = "en") -> str:
    return client.get("/admin/jobs/workers", headers={"Accept-Language": language}).get_data(as_text=True)


def test_nothing_is_shown_when_it_is_off(ledger, client):
    consumer(ledger, "a", 3, 3)
    assert "Autoscaling" not in page(client)
    assert client.get("/admin/jobs/workers", headers={"Accept": "application/json"}).get_json()["autoscaling"] is None


def test_the_panel_has_the_rule_the_numbers_and_the_last_ten_decisions(ledger, client):
    consumer(ledger, "a", 1, 4)
    with ledger.connection.transaction() as tx:
        for n in range(101, 113):
            audit.write(tx, "autoscaling", Message("worker started"), "box: 1 → 2", Message("%(n)s jobs wait, more than %(limit)s", n=n, limit=100))
        audit.write(tx, "ada@example.org", Message("worker started"), "by hand", "a person's")
    html = page(client)
    assert "More than 100 waiting jobs start a worker" in html and "high, low" in html
    assert "112 jobs wait, more than 100" in html and "103 jobs wait" in html and "102 jobs wait" not in html and "a person&#39;s" not in html
    italian = page(client, "it")
    assert "112 lavori in attesa, più di 100" in italian and "worker avviato" in italian
    (found,) = client.get("/admin/jobs/workers", headers={"Accept": "application/json"}).get_json()["autoscaling"]["consumers"]
    assert (found["running"], found["wanted"], found["least"], found["most"]) == (0, 2, 1, 4)
    log = client.get("/admin/jobs/log?actor=autoscaling", headers={"Accept": "application/json"}).get_json()["log"]
    assert len(log) == 12 and {row["actor"] for row in log} == {"autoscaling"}
    assert "Who <b>autoscaling</b>" in client.get("/admin/jobs/log?actor=autoscaling", headers={"Accept-Language": "en"}).get_data(as_text=True)
    assert client.get("/admin/jobs/log?actor=nobody").status_code == 200


def test_the_rule_of_the_time_to_clear_is_told(ledger, client, monkeypatch):
    consumer(ledger, "a", 1, 4)
    monkeypatch.setitem(ledger.app.extensions, "settings", replace(ledger.app.extensions["settings"], workers_clear_min=7))
    assert "would not begin within 7 min" in page(client) and "No decision yet." in page(client)
