"""Networks in the log of actions: readers who see no data do not see them, neither as the person of an entry."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.services.people import accounts, attempts
from app.support.clock import now_ms
from tests.conftest import PASSWORD, sign_in
from tests.controllers.test_gate import JSON

HERE = "203.0.113.77/32"


@pytest.fixture
def site(ledger):
    with ledger.app.app_context():
        for role in ("super-admin", "viewer"):
            accounts.create_user(f"{role}@example.org", role, PASSWORD)
        for action in (attempts.FAILED, attempts.NO_CODE):
            attempts.note_failure("ada@example.org", HERE, now_ms(), action)
        db.session.remove()
    return lambda role: sign_in(ledger.app, f"{role}@example.org")


@pytest.mark.parametrize("role,sees", [("super-admin", True), ("viewer", False)])
def test_failed_sign_ins_show_their_network_to_who_sees_data(site, role, sees):
    client = site(role)
    client.set_cookie("lang", "en")
    page = client.get("/admin/jobs/log").text
    for text in (page, client.get("/admin/jobs/log", headers=JSON).text, client.get("/admin/jobs/log.csv").text):
        assert (HERE in text) is sees
    assert "Failed to sign in as ada@example.org" in page and "Gave the right password of ada@example.org and no code yet" in page
    rows = client.get(f"/admin/jobs/log?actor={HERE}", headers=JSON).json["log"]
    assert len(rows) == (2 if sees else 0), "a filter tells no network either"
    assert client.get("/admin/jobs/log?actor=viewer@example.org", headers=JSON).json["log"] or role != "viewer"
