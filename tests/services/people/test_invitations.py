"""Invitations hold once, for 7 days, and for nobody who may not invite; on both databases."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.extensions import db
from app.models import Audit, User
from app.services.audit import ActionRefused
from app.services.people import accounts, invitations, sign_in
from app.support.clock import DAY_MS
from app.support.validation import ValidationError
from tests.conftest import PASSWORD

ADA, BOB, NEW, SEES = "ada@example.org", "bob@example.org", "new@example.org", "viewer who sees data"


@pytest.fixture
def people(ledger, monkeypatch):
    """`call(f)` runs f in a context of its own; `clock[0]` is the time of invitations and sessions."""
    clock = [1_800_000_000_000]
    for module in (invitations, sign_in):
        monkeypatch.setattr(module, "now_ms", lambda: clock[0])
    monkeypatch.setattr(invitations, "hash_password", lambda password, email: f"hash of {password}")

    def call(function, *args, **kwargs):
        with ledger.app.app_context():
            try:
                return function(*args, **kwargs)
            finally:
                db.session.remove()

    ledger.call, ledger.clock = call, clock
    call(accounts.create_user, ADA, "super-admin", PASSWORD)
    return ledger


def here(n: int = 1) -> sign_in.Visitor:
    return sign_in.Visitor(f"192.0.2.{n}")


def test_a_link_makes_one_account_and_signs_in(people):
    view, link = people.call(invitations.invite, " New@Example.org ", "viewer", True, ADA)
    token = link.partition("/invitation#")[2]
    assert (view.email, view.role, view.sees_data, view.expired) == (NEW, "viewer", True, False) and len(token) == 43
    assert people.one("SELECT token_hash FROM invitations") == hashlib.sha256(token.encode()).hexdigest()
    assert people.call(invitations.opened, token, here()).email == NEW, "the token alone, as a script has it"
    session = people.call(invitations.accept, link, PASSWORD, here())
    with people.app.app_context():
        user = sign_in.load_session(session)
        assert (user.email, user.role, user.sees_data) == (NEW, "viewer", 1)
        rows = [(r.actor, r.action, r.subject, r.result) for r in db.session.scalars(db.select(Audit).order_by(Audit.id))]
    assert rows[-3:-1] == [(ADA, "invite", NEW, SEES), (NEW, "accept invitation", NEW, SEES)]
    assert not any(token in "".join(row) for row in rows)
    with pytest.raises(ActionRefused, match="opens nothing"):
        people.call(invitations.accept, link, PASSWORD, here())


def test_of_eight_who_use_a_link_at_once_one_has_the_account(people):
    _view, link = people.call(invitations.invite, NEW, "operator", False)
    start = threading.Barrier(8)

    def use(n: int):
        start.wait()
        try:
            return people.call(invitations.accept, link, PASSWORD, here(n))
        except ActionRefused as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))
    assert sum(len(text) == 43 for text in found) == 1 and all(len(text) == 43 or "already" in text or "opens nothing" in text for text in found)
    assert people.one("SELECT COUNT(*) FROM users") == 2 and people.one("SELECT COUNT(*) FROM user_sessions") == 1


def test_expired_replaced_withdrawn_forged_and_known_ones_are_told(people):
    _view, old = people.call(invitations.invite, NEW, "viewer", False, ADA)
    view, link = people.call(invitations.invite, NEW, "operator", False, ADA)
    assert people.one("SELECT COUNT(*) FROM invitations") == 1
    for text in (old, "", "x", link[:-1], link + "x", "é", "https://elsewhere.example/#" + "A" * 43):
        with pytest.raises(ActionRefused, match="opens nothing"):
            people.call(invitations.opened, text, here(hash(text) % 250))
    _view, newer = people.call(invitations.again, view.id, ADA)
    with pytest.raises(ActionRefused, match="opens nothing"):
        people.call(invitations.opened, link, here())
    people.clock[0] += 7 * DAY_MS
    assert people.call(invitations.pending)[0].expired
    with pytest.raises(ActionRefused, match="7 days"):
        people.call(invitations.opened, newer, here())
    view, link = people.call(invitations.again, people.call(invitations.pending)[0].id, ADA)
    assert view.role == "operator" and people.call(invitations.opened, link, here(9))
    people.call(invitations.withdraw_of, NEW, ADA)
    for wrong in (lambda: invitations.opened(link, here()), lambda: invitations.withdraw(view.id), lambda: invitations.again(2**63 - 1), lambda: invitations.withdraw_of(NEW)):
        with pytest.raises(ActionRefused):
            people.call(wrong)
    _view, link = people.call(invitations.invite, NEW, "viewer", False, ADA)
    people.call(accounts.create_user, NEW, "user", PASSWORD)
    with pytest.raises(ActionRefused, match="already: sign in"):
        people.call(invitations.opened, link, here(10))
    for email, role in ((NEW, "viewer"), ("no address", "viewer"), ("x@example.org", "emperor")):
        with pytest.raises(ValidationError):
            people.call(invitations.invite, email, role, False)


def test_guessing_links_is_limited(people):
    _view, link = people.call(invitations.invite, NEW, "viewer", False)
    for n in range(5):
        with pytest.raises(ActionRefused, match="opens nothing"):
            people.call(invitations.opened, f"guess {n}", here())
    with pytest.raises(ActionRefused, match="too many"):
        people.call(invitations.opened, link, here())
    for _n in range(30):
        assert people.call(invitations.opened, link, here(2)), "right ones do not count"


def test_links_of_a_super_admin_who_is_one_no_more_open_nothing(people):
    people.call(accounts.create_user, "bob@example.org", "super-admin", PASSWORD)
    for change in (lambda: accounts.set_role(BOB, "operator"), lambda: accounts.disable(BOB)):
        people.call(accounts.set_role, BOB, "super-admin")
        _view, link = people.call(invitations.invite, NEW, "super-admin", False, "bob@example.org")
        people.call(change)
        with pytest.raises(ActionRefused, match="opens nothing"):
            people.call(invitations.opened, link, here())


@pytest.mark.parametrize("change", ["role = 'operator'", "disabled_ms = 1"])
def test_a_link_asks_each_time_whether_its_inviter_still_may(people, change):
    people.call(accounts.create_user, BOB, "super-admin", PASSWORD)
    _view, link = people.call(invitations.invite, NEW, "super-admin", False, BOB)
    people.change(f"UPDATE users SET {change} WHERE email = :e", e=BOB)
    for use in (lambda: invitations.opened(link, here()), lambda: invitations.accept(link, PASSWORD, here(2))):
        with pytest.raises(ActionRefused, match="opens nothing"):
            people.call(use)
    for actor in (BOB, "nobody@example.org", f"{ADA} (token x)"):
        with pytest.raises(ActionRefused, match="Only an active super-admin"):
            people.call(invitations.invite, NEW, "viewer", False, actor)
    _view, link = people.call(invitations.invite, NEW, "operator", False, "cli:root")
    assert people.call(invitations.accept, link, PASSWORD, here(3)), "who may run commands may invite"


@pytest.mark.parametrize("moment", ["check_role", "audit"])
def test_who_is_demoted_while_inviting_leaves_no_link(people, monkeypatch, moment):
    """Before the row of the inviter is read, and between that and the end of the transaction."""
    people.call(accounts.create_user, BOB, "super-admin", PASSWORD)
    real, threads = getattr(invitations, moment), []

    def meanwhile(*given):
        if not threads:
            threads.append(threading.Thread(target=people.call, args=(accounts.set_role, BOB, "viewer", ADA)))
            threads[0].start()
            threads[0].join(0.4 if moment == "audit" else 8)
        return real(*given)

    monkeypatch.setattr(invitations, moment, meanwhile)
    try:
        people.call(invitations.invite, NEW, "super-admin", False, BOB)
    except ActionRefused:
        assert moment == "check_role"
    threads[0].join(12)
    assert people.one("SELECT role FROM users WHERE email = :e", e=BOB) == "viewer"
    assert people.one("SELECT COUNT(*) FROM invitations") == 0


def test_what_an_operator_was_invited_to_see_is_forgotten(people):
    view, link = people.call(invitations.invite, NEW, "operator", True)
    people.call(invitations.accept, link, PASSWORD, here())
    assert not view.sees_data and people.one("SELECT sees_data FROM users WHERE email = :e", e=NEW) == 0
    people.change("UPDATE users SET sees_data = 1 WHERE email = :e", e=NEW)  # as older versions wrote it
    people.call(accounts.set_role, NEW, "viewer")
    assert people.one("SELECT sees_data FROM users WHERE email = :e", e=NEW) == 0, "a viewer sees data when that is said"
    with people.app.app_context():
        said = list(db.session.scalars(db.select(Audit.result).order_by(Audit.id)))
    assert said[-1] == "operator → viewer" and SEES not in said


def test_a_failure_while_the_account_is_made_leaves_the_link(people, monkeypatch):
    _view, link = people.call(invitations.invite, NEW, "viewer", False)

    def fail(*_given):
        raise RuntimeError("no session")

    with monkeypatch.context() as patch:
        patch.setattr(invitations, "add_session", fail)
        with pytest.raises(RuntimeError):
            people.call(invitations.accept, link, PASSWORD, here())
    with people.app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(User)) == 1
    assert people.call(invitations.accept, link, PASSWORD, here())


def test_the_monitor_deletes_what_has_been_over_for_30_days(people):
    people.call(invitations.invite, NEW, "viewer", False)
    people.call(sign_in.sweep, people.clock[0] + 36 * DAY_MS)
    assert people.one("SELECT COUNT(*) FROM invitations") == 1
    people.call(sign_in.sweep, people.clock[0] + 38 * DAY_MS)
    assert people.one("SELECT COUNT(*) FROM invitations") == 0


@pytest.mark.parametrize("what,told", [(lambda: invitations.withdraw_of(NEW), "opens nothing"), (lambda: accounts.create_user(NEW, "user", PASSWORD), "already: sign in")])
def test_what_happens_while_the_password_is_hashed_is_seen(people, monkeypatch, what, told):
    _view, link = people.call(invitations.invite, NEW, "viewer", False)

    def slow(_password, _email):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(people.call, what).result()
        return "a hash"

    monkeypatch.setattr(invitations, "hash_password", slow)
    with pytest.raises(ActionRefused, match=told):
        people.call(invitations.accept, link, PASSWORD, here())
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 0
