"""New alerts reach the browsers of who asked, once, and not before their rule allows to tell."""

from __future__ import annotations

import pytest
from flask_babel import force_locale

from app.services.notices import feed
from app.support.clock import MINUTE_MS, when
from tests.services.alerts.test_alerts import Desk


@pytest.fixture
def desk(ledger):
    made = Desk(ledger)
    for n, (role, on, disabled) in enumerate((("operator", 1, None), ("viewer", 1, None), ("viewer", 0, None), ("operator", 1, 5), ("user", 1, None))):
        ledger.change("INSERT INTO users (email, password_hash, role, created_ms, browser_alerts, disabled_ms) VALUES (:e, 'x', :r, 1, :on, :d)", e=f"p{n}@example.org", r=role, on=on, d=disabled)
    return made


def told(desk) -> list[tuple]:
    return desk.connection.fetch_all("SELECT u.email, n.subject FROM notices n JOIN users u ON u.id = n.user_id ORDER BY n.id")


def test_an_alert_is_told_once_to_who_asked_and_may_read(desk):
    desk.memory = 95
    for _n in range(4):
        desk.check()
    desk.memory = 10
    for _n in range(4):
        desk.check()
    assert told(desk) == [("p0@example.org", "1"), ("p1@example.org", "1")]
    with desk.ledger.app.app_context(), force_locale("en"):
        ((view,), _last) = feed.since(desk.ledger.one("SELECT MIN(id) FROM users"), 0, True)
    assert view.kind == "alert" and view.title and "%" in view.body and view.link == "/admin/jobs/alerts/"


def test_quiet_hours_hold_it_back(desk):
    start, end = (when(desk.now + n * MINUTE_MS).astimezone(desk.settings.timezone).strftime("%H:%M") for n in (-5, 30))
    desk.rule("box_memory", quiet_from=start, quiet_until=end)
    desk.memory = 95
    desk.check(0)
    assert desk.open() == ["box_memory"] and told(desk) == []
    desk.check(28)
    assert told(desk) == []
    desk.check(3)
    assert len(told(desk)) == 2


def test_with_a_channel_or_without(desk):
    desk.rule("box_memory", channels="")
    desk.memory = 95
    desk.check()
    assert len(told(desk)) == 2 and desk.sent() == []


def test_two_monitors_tell_it_once(desk):
    desk.memory = 95
    desk.check()
    desk.ledger.change("DELETE FROM notices")
    desk.check(0)
    desk.check(1)
    assert told(desk) == []
