"""Guessing is counted before any password is looked at, on both databases, by however many at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.extensions import BUSY_MS, db, only_read
from app.models import Audit
from app.services.audit import ActionRefused
from app.services.people import accounts, attempts, passwords, sign_in
from app.support.clock import DAY_MS, now_ms
from app.support.validation import ValidationError
from tests.conftest import PASSWORD

ADA = "ada@example.org"


@pytest.fixture
def people(ledger):
    """A super-admin and a user; `people.call(f)` runs f in a context of its own, as a request does."""
    with ledger.app.app_context():
        accounts.create_user(ADA, "super-admin", PASSWORD)
        accounts.create_user("bob@example.org", "user", PASSWORD)
        db.session.remove()

    def call(function, *args, **kwargs):
        with ledger.app.app_context():
            try:
                return function(*args, **kwargs)
            finally:
                db.session.remove()

    ledger.call = call
    return ledger


def looked_at(monkeypatch) -> list[str]:
    """The passwords that were compared with a hash, which is slow on purpose and here is not."""
    seen: list[str] = []
    lock = threading.Lock()

    def compare(_hash: str, password: str) -> bool:
        with lock:
            seen.append(password)
        return password == PASSWORD

    monkeypatch.setattr(passwords, "check_password_hash", compare)
    return seen


def test_forty_guesses_at_once_get_five_tries(people, monkeypatch):
    seen = looked_at(monkeypatch)
    with ThreadPoolExecutor(40) as pool:
        results = list(pool.map(lambda n: people.call(sign_in.sign_in, ADA, f"guess {n}", "192.0.2.1"), range(40)))
    assert len(seen) == 5 and results == [None] * 40


def test_forty_accounts_at_once_from_one_network_get_twenty_tries_and_then_one_in_a_while(people, monkeypatch):
    seen = looked_at(monkeypatch)
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda n: people.call(sign_in.sign_in, f"nobody{n}@example.org", "guess", "192.0.2.1"), range(40)))
    assert len(seen) == 20
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1") is None, "the network is slowed"
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.2"), "another is not"
    people.change("UPDATE login_attempts SET at_ms = at_ms - 46000")
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1"), "one passes every 45 s: strangers do not lock everybody out"


def test_a_browser_that_has_signed_in_before_is_never_locked_out_by_others(people):
    cookie = people.call(attempts.device_cookie, None, ADA)
    for n in range(25):
        people.call(sign_in.sign_in, ADA, f"guess {n}", "192.0.2.1")
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1") is None
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1", device=cookie)
    assert people.call(sign_in.sign_in, "bob@example.org", PASSWORD, "192.0.2.9", device=cookie), "its own account only, others as anybody"


@pytest.mark.parametrize("forged", [None, "", "x", "a.b.c", "é", "eyJkIjoieCIsImEiOltdfQ.aaaaaa.bbbb"])
def test_a_forged_device_cookie_opens_nothing(people, forged):
    for n in range(5):
        people.call(sign_in.sign_in, ADA, f"guess {n}", "192.0.2.1", device=forged)
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1", device=forged) is None


def test_a_stolen_device_cookie_has_a_counter_of_its_own(people, monkeypatch):
    seen = looked_at(monkeypatch)
    cookie = people.call(attempts.device_cookie, None, ADA)
    for n in range(40):
        people.call(sign_in.sign_in, ADA, f"guess {n}", f"192.0.2.{n}", device=cookie)
    assert len(seen) == 40, "past its 20 it counts as any other browser: 5 from each network"
    for n in range(40):
        people.call(sign_in.sign_in, ADA, f"guess {n}", "198.51.100.1", device=cookie)
    assert len(seen) == 45


def test_attempts_of_a_clock_that_was_ahead_lock_nobody_and_go(people):
    key, ahead = attempts.account_key(ADA), now_ms() + 365 * DAY_MS
    for n in range(25):
        people.call(attempts.reserve, key if n < 5 else f"x{n}", "192.0.2.1/32", None, ahead)
        people.call(attempts.note_failure, ADA, "192.0.2.1/32", ahead)
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1") and people.call(accounts.people)[0].failures == 0
    people.call(sign_in.sweep, now_ms())
    assert people.one("SELECT COUNT(*) FROM login_attempts") == 0


def test_sessions_of_a_clock_that_was_ahead_end(people):
    tokens = [people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1") for _n in range(2)]
    people.change("UPDATE user_sessions SET created_ms = created_ms + :d, seen_ms = seen_ms + :d", d=400 * DAY_MS)
    assert [people.call(sign_in.load_session, token) for token in tokens] == [None, None]
    people.call(sign_in.sweep, now_ms())
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 0


def test_the_device_of_one_account_is_nothing_to_another_and_five_are_kept(people):
    cookie = None
    for name in ("a", "b", "c", "d", "e", "f"):
        cookie = people.call(attempts.device_cookie, cookie, f"{name}@example.org")
    device, known = people.call(attempts.device_of, cookie)
    assert len(known) == 5 and people.call(attempts.device_of, cookie)[0] == device


def test_unlock_lets_an_account_try_again_also_from_a_slowed_network(people):
    for n in range(30):
        people.call(sign_in.sign_in, ADA if n < 9 else f"x{n}@example.org", "guess", "192.0.2.1")
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1") is None
    assert people.call(accounts.unlock, ADA, "cli:test") == 20
    assert people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1")


def test_the_log_of_actions_has_sign_ins_and_bounded_failures(people, monkeypatch):
    looked_at(monkeypatch)
    monkeypatch.setattr(attempts, "MOST_NOTED", 10)
    for n in range(40):
        people.call(sign_in.sign_in, ADA, "guess", f"192.0.2.{n % 30}")
        people.call(sign_in.sign_in, "password typed here@x.it", "guess", "203.0.113.1")
    token = people.call(sign_in.sign_in, ADA, PASSWORD, "198.51.100.7", agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0")
    people.call(sign_in.sign_out, token)
    with people.app.app_context():
        rows = [(r.actor, r.action, r.subject, r.result) for r in db.session.scalars(db.select(Audit).order_by(Audit.id))]
    failures = [r for r in rows if r[1] == "sign-in failed"]
    assert 10 <= len(failures) <= 12 and not any("typed here" in "".join(r) for r in rows)
    assert ("203.0.113.1/32", "sign-in failed", "unknown account", "attempts: 5") in rows
    assert any(r[0] == "many networks" for r in failures)
    assert sum(int(r[3].split()[-1]) for r in failures) == people.one("SELECT COUNT(*) FROM login_attempts")
    assert [r[1] for r in rows[-2:]] == ["sign in", "sign out"] and rows[-1][0] == ADA


def test_rows_about_failures_go_after_30_days_and_others_stay(people):
    people.call(sign_in.sign_in, ADA, "wrong one", "192.0.2.1")
    people.change("UPDATE audit SET at_ms = at_ms - 31 * CAST(86400000 AS BIGINT)")
    people.call(sign_in.sign_in, ADA, "wrong one", "192.0.2.1")
    people.call(sign_in.sweep, now_ms())
    actions = [r[0] for r in people.connection.fetch_all("SELECT action FROM audit ORDER BY id")]
    assert actions == ["create account", "create account", "sign-in failed"]


def test_every_change_of_an_account_is_in_the_log_with_who_did_it(people):
    call = people.call
    call(accounts.set_role, "bob@example.org", "super-admin", "ada@example.org")
    call(accounts.disable, "bob@example.org", "cli:root")
    call(accounts.enable, "bob@example.org", "cli:root")
    call(accounts.set_password, "bob@example.org", "another good password", "cli:root")
    call(accounts.end_sessions, "bob@example.org", "ada@example.org")
    with people.app.app_context():
        rows = [(r.actor, r.action, r.subject) for r in db.session.scalars(db.select(Audit).order_by(Audit.id))][2:]
    bob = "bob@example.org"
    assert rows == [(ADA, "change role", bob), ("cli:root", "disable account", bob), ("cli:root", "enable account", bob),
                    ("cli:root", "change password", bob), (ADA, "sign out everywhere", bob)]


def test_the_last_active_super_admin_stays(people):
    for change in (lambda: accounts.disable(ADA), lambda: accounts.set_role(ADA, "user")):
        with pytest.raises(ActionRefused, match="last active super-admin"):
            people.call(change)
    people.call(accounts.set_role, "bob@example.org", "super-admin")
    people.call(accounts.disable, "bob@example.org")
    with pytest.raises(ActionRefused, match="last active super-admin"):
        people.call(accounts.disable, ADA)


def test_two_who_demote_each_other_at_once_leave_one(people):
    people.call(accounts.set_role, "bob@example.org", "super-admin")
    start = threading.Barrier(2)

    def demote(email: str) -> None:
        start.wait()
        try:
            people.call(accounts.set_role, email, "user")
        except ActionRefused:
            return

    for _ in range(5):
        people.change("UPDATE users SET role = 'super-admin'")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(demote, [ADA, "bob@example.org"]))
        assert people.one("SELECT COUNT(*) FROM users WHERE role = 'super-admin'") == 1


def test_sessions_are_listed_and_ended(people):
    first = people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1", agent="Mozilla/5.0 (Windows NT 10.0) Chrome/130.0 Safari/537.36")
    people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.2", agent="curl/8.5")
    row = next(p for p in people.call(accounts.people, first) if p.email == ADA)
    assert {(s.device, s.network, s.here) for s in row.sessions} == {("Chrome, Windows", "192.0.2.1/32", True), ("curl", "192.0.2.2/32", False)}
    people.call(accounts.end_session, next(s.id for s in row.sessions if not s.here), "x")
    assert people.call(sign_in.load_session, first)
    people.call(accounts.end_sessions, ADA)
    assert people.call(sign_in.load_session, first) is None
    with pytest.raises(ActionRefused):
        people.call(accounts.end_session, 2**40)


def test_the_first_password_is_removed_at_the_first_sign_in_of_its_account(people):
    file = people.app.extensions["settings"].data_dir / "first-password"
    file.write_text("x")
    people.call(sign_in.sign_in, "bob@example.org", PASSWORD, "192.0.2.1")
    people.call(sign_in.sign_in, ADA, "wrong one", "192.0.2.1")
    assert file.exists()
    people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1")
    assert not file.exists()


@pytest.mark.parametrize("password", ["password", "Password1!", "P@ssw0rd2026", "12345678", "87654321", "qwertyuiop", "aaaaaaaa", "Juventus1897", "AinsteinJobs1", "ada-2026!!",
                                      "ada@example.org", "Benvenuto1", "1q2w3e4r5t", "abababab", "cambiami123", "passwordpassword", "ＰＡＳＳＷＯＲＤ"])
def test_common_passwords_are_refused(password):
    with pytest.raises(ValidationError, match="guessed"):
        passwords.check_password(password, ADA)


@pytest.mark.parametrize("password", [PASSWORD, "another good password", "another-password-1", "kJ8#fQ2!x", "zebra lantern", "token_urlsafe-16c"])
def test_others_are_taken(password):
    passwords.check_password(password, ADA)


def test_a_start_with_a_common_admin_password_goes_on_when_there_are_accounts(people):
    assert people.call(accounts.create_first, "root@example.org", "password") is False


def test_a_session_of_a_migrated_database_has_no_device(people):
    token = people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1")
    people.change("UPDATE user_sessions SET agent = NULL, network = NULL")
    row = next(p for p in people.call(accounts.people, token) if p.email == ADA)
    assert [(s.device, s.network) for s in row.sessions] == [(None, None)]




def test_a_page_does_not_wait_for_the_writer_to_note_that_a_session_is_used(people):
    token = people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1")
    people.change("UPDATE user_sessions SET seen_ms = seen_ms - 120000")

    def used():
        only_read()  # as a GET request does
        return sign_in.load_session(token)

    with people.connection.transaction() as tx:
        tx.execute("UPDATE user_sessions SET network = NULL" if people.connection.sqlite else "SELECT 1")
        began = time.monotonic()
        assert people.call(used)
        assert time.monotonic() - began < 5, "the lock is waited for 10 s elsewhere"
    if people.connection.sqlite:
        with people.app.app_context(), db.engine.connect() as connection:
            assert connection.connection.driver_connection.execute("PRAGMA busy_timeout").fetchone() == (BUSY_MS,)


def test_a_post_notes_that_a_session_is_used_and_does_not_wait_for_its_own_lock(people):
    token = people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1")
    people.change("UPDATE user_sessions SET seen_ms = seen_ms - 120000")
    before = people.one("SELECT seen_ms FROM user_sessions")
    with people.app.test_request_context("/", method="POST"):
        assert sign_in.load_session(token).email == ADA
    assert people.one("SELECT seen_ms FROM user_sessions") >= before + 120_000
