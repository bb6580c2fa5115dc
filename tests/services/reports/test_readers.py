"""What a mail shows, and whether it is sent, is decided by the rights of this moment, on both databases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.controllers import rights
from app.services.notices import telling
from app.services.people import roles
from app.services.reports import sending, stored, without_data
from tests.services.notices.test_telling import People
from tests.services.reports.made_up import RICH
from tests.services.reports.test_sending import Post
from tests.smtp_sink import SmtpSink

one_store = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)  # each sending starts a process
TITLE = RICH.new_errors[0].title
BOB = "mail:bob@example.org"


class Letters(Post):
    """An outbox, of which the letters are read as the monitor would send them."""

    def report(self, target: str = BOB, by: str = "bob@example.org", **columns) -> None:
        self.ledger.change("INSERT INTO report_plans (name, target, period, language, made_by, created_ms, since_ms) VALUES ('L', :t, 'week', 'en', :by, 1, 1)", t=target, by=by)
        plan = self.ledger.one("SELECT MAX(id) FROM report_plans")
        self.ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) VALUES (:p, 1, 2, :f, 1)", p=plan, f=stored.to_json(replace(RICH, slots=(), slots_before=())))
        self.put(None, **{"kind": "report", "target": target, "plan_id": plan, "report_id": plan, "body": "0", "language": "en"} | columns)

    def made(self, id: int = 1):
        row = self.ledger.connection.fetch_all(f"SELECT {', '.join(sending.FIELDS.split())} FROM mails WHERE id = :id", id=id)[0]
        return self.box._prepare("mail:", [sending.Row(*row)])


@pytest.fixture
def letters(ledger) -> Letters:
    return Letters(ledger)


def account(ledger, role: str, name: str = "bob", **columns) -> None:
    values = {"email": f"{name}@example.org", "password_hash": "x", "role": role, "created_ms": 1} | columns
    ledger.change("DELETE FROM users WHERE email = :e", e=values["email"])
    ledger.change(f"INSERT INTO users ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)


def test_texts_of_errors_are_for_accounts_that_see_data_when_it_is_sent(letters, ledger):
    letters.report("mail:Bob@example.org")
    for role, sees, shown in (("operator", 0, True), ("viewer", 0, False), ("viewer", 1, True), ("super-admin", 0, True)):
        account(ledger, role, sees_data=sees)
        letter = letters.made()
        assert (TITLE in letter.text) == shown, role
        assert letter.files  # and those of a viewer are made of the same figures


def test_why_an_alert_was_raised_is_data_too():
    row = replace(RICH.alerts[0], facts=json.dumps({"n": 1, "why": "zanzibar", "why_json": "zanzibar"}))
    hidden = without_data.hide(replace(RICH, alerts=(row, RICH.alerts[1])))
    assert "zanzibar" not in stored.to_json(hidden)
    assert json.loads(hidden.alerts[0].facts) == {"n": 1, "why": "–"} and hidden.alerts[1] == RICH.alerts[1]


@pytest.mark.parametrize("columns", [{"role": "operator", "disabled_ms": 1}, {"role": "user"}, {"role": "user", "sees_data": 1}, {"role": "nothing of ours"}])
def test_nothing_is_sent_to_who_may_not_read(letters, ledger, columns):
    letters.report()
    letters.report(by="cli:root")
    letters.put()
    letters.put(facts=json.dumps({"by": "bob@example.org", "subject": "s", "body": "b"}))
    letters.put(None, kind="test", plan_id=1)
    account(ledger, **columns)
    for id in range(1, 6):
        outcome = letters.made(id)
        assert isinstance(outcome, sending.Outcome) and outcome.over and "bob@example.org" in outcome.why, id


def test_what_an_admin_had_sent_outside_is_not_sent_after_their_end(letters, ledger):
    letters.report("mail:private@elsewhere.example", "eva@example.org")
    letters.report("channel:team", "eva@example.org")
    account(ledger, "super-admin", "eva")
    assert TITLE in letters.made(1).text and TITLE in letters.made(2).text
    for change in ({"role": "operator"}, {"role": "super-admin", "disabled_ms": 1}):
        account(ledger, name="eva", **change)
        assert all(letters.made(id).over and "takes it over" in letters.made(id).why for id in (1, 2))
    ledger.change("DELETE FROM report_plans")
    assert letters.made(1).over


def test_what_another_program_wrote_into_a_mail_ends_it_or_stays_one_line(letters, ledger):
    letters.put("Hello\r\nBcc: eva@example.org", body="x")
    assert "\n" not in letters.made().subject and "\r" not in letters.made().subject
    letters.report()
    ledger.change("DELETE FROM reports")
    outcome = letters.made(2)
    assert outcome.refused and "no longer kept" in outcome.why, "it is not tried for 30 days"


@one_store
def test_a_mail_that_waits_is_ended_with_the_reason(ledger):
    sink = SmtpSink()
    post = Letters(ledger, sink)
    post.report()
    account(ledger, "operator", disabled_ms=1)
    post.send()
    assert post.states() == [("dropped", 1, 0)] and not sink.tried
    assert ledger.one("SELECT error FROM mails") == "the account bob@example.org is disabled or may not read here"
    sink.close()


def test_a_notice_has_errors_and_names_only_for_who_sees_data_when_it_is_sent(letters, ledger):
    people = People(ledger)
    ada = people.add("operator", language="en")
    uuid = ledger.dispatch("TestNoop", tries=1)
    for via in ("mail", "channel:team"):
        ledger.change("DELETE FROM follows")
        people.put(ada, uuid, via=via, language="en")
        if via == "mail":
            ledger.settle(ledger.claim(), "failed", error="zanzibar")
        assert telling.tell(ledger.connection, ledger.app) == 1
    assert "zanzibar" not in ledger.one("SELECT body FROM mails WHERE id = 1")
    assert all("zanzibar" in letters.made(id).text and uuid in letters.made(id).text for id in (1, 2))
    ledger.change("UPDATE users SET role = 'viewer'")
    assert "zanzibar" not in letters.made(1).text + letters.made(1).html and uuid in letters.made(1).text
    assert letters.made(2).over  # a viewer may not write to channels
    ledger.change("UPDATE users SET disabled_ms = 1")
    assert letters.made(1).over
    ledger.change("DELETE FROM follows"), ledger.change("DELETE FROM users")
    assert letters.made(1).over


@one_store
def test_a_letter_that_is_written_slowly_is_sent_by_one_monitor(ledger, monkeypatch):
    """Its writing lasts longer than the lease: the machine slept, or swaps."""
    sink = SmtpSink()
    post = Letters(ledger, sink)
    post.put()
    prepare, other = post.box._prepare, post.another()

    def slowly(lane, rows):
        post.now += sending.LEASE_MS + 1000
        other.finish(ledger.connection)
        return prepare(lane, rows)

    post.box._prepare = slowly
    post.send(1)
    assert len(sink.got) == 1 and post.states() == [("sent", 2, 1)]
    post.put("alone")
    post.box._prepare = lambda lane, rows: (setattr(post, "now", post.now + sending.LEASE_MS - 1), prepare(lane, rows))[1]
    post.send(1)
    assert len(sink.got) == 2 and post.states()[1] == ("sent", 1, 0)
    sink.close()


def test_a_value_of_another_program_gives_no_right(ledger):
    if ledger.store == "sqlite":
        account(ledger, b"operator\xff", sees_data="1")
        account(ledger, 7, "eva")
        assert set(roles.rights_at(ledger.connection, ["BOB@example.org", "eva@example.org"]).values()) == {frozenset()}
    assert roles.rights_at(ledger.connection, []) == roles.rights_at(ledger.connection, ["none@example.org"]) == {}
    assert rights.ROLES is roles.ROLES
