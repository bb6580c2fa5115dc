# ruff: noqa: F811  (fixtures of another file)
"""How many codes of a second factor may be tried: by network, by account, by browsers that have signed in before."""

from __future__ import annotations

import pytest

from app.services.people import accounts, attempts, own, sign_in
from tests.conftest import PASSWORD
from tests.services.people.test_second_factor import ADA, HERE, code_of, enter, people  # noqa: F401


def test_guessing_codes_is_limited_as_guessing_passwords(people):
    found = [enter(people, f"{n:06d}") for n in range(8)]
    assert found == ["wrong code"] * 5 + [None] * 3
    assert enter(people, code_of(people.secret, people.clock[0])) is None, "the right one comes too late"
    assert enter(people, None) is None and people.call(sign_in.sign_in, ADA, "wrong", "192.0.2.1") is None
    people.clock[0] += attempts.WINDOW_MS + 1000
    assert len(enter(people, code_of(people.secret, people.clock[0]))) > 20


def test_a_thousand_networks_guess_twenty_codes_and_a_known_browser_still_comes_in(people):
    found = [enter(people, f"{n:06d}", f"198.51.{n}.1") for n in range(25)]
    assert found == ["wrong code"] * 20 + [None] * 5
    cookie = people.call(attempts.device_cookie, None, ADA)
    assert len(enter(people, code_of(people.secret, people.clock[0]), device=cookie)) > 20
    assert enter(people, people.recovery[0], "203.0.113.9") is None, "that gives strangers no further guesses"


def test_a_copied_cookie_of_a_known_browser_guesses_twenty_codes_from_all_networks(people):
    thief, owners = (people.call(attempts.device_cookie, None, ADA) for _n in range(2))
    found = [enter(people, f"{n:06d}", f"198.51.{n % 9}.{n}", device=thief) for n in range(30)]
    assert found == ["wrong code"] * 20 + [None] * 10
    assert enter(people, "000000", "203.0.113.1") == "wrong code", "strangers have 20 besides"
    assert len(enter(people, code_of(people.secret, people.clock[0]), device=owners)) > 20, "another browser has its own"
    assert enter(people, people.recovery[0], device=thief) is None
    people.clock[0] += attempts.WINDOW_MS + 61_000
    assert len(enter(people, people.recovery[0], device=thief)) > 20


def test_many_known_browsers_guess_sixty_codes_together(people):
    cookies = [people.call(attempts.device_cookie, None, ADA) for _n in range(7)]
    found = [enter(people, f"{n:06d}", f"198.51.{n}.1", device=cookies[n % 7]) for n in range(70)]
    assert found.count("wrong code") == 60 and found[60:] == [None] * 10


def test_strangers_with_the_password_do_not_lock_the_account_page_of_a_known_browser(people):
    for n in range(25):
        enter(people, f"{n:06d}", f"198.51.{n}.1")
    known = sign_in.Visitor("192.0.2.7", device=people.call(attempts.device_cookie, None, ADA))
    with pytest.raises(own.FieldError, match="too many"):
        people.call(own.change_factor, people.ids[ADA], PASSWORD, people.recovery[0], HERE, False)
    for n in range(20):
        with pytest.raises(own.FieldError, match="not right"):
            people.call(own.change_factor, people.ids[ADA], PASSWORD, f"{n:06d}", known, False)
    with pytest.raises(own.FieldError, match="too many"):
        people.call(own.change_factor, people.ids[ADA], PASSWORD, people.recovery[0], known, False)


@pytest.mark.parametrize("device", [False, True])
def test_codes_that_a_clock_of_the_future_counted_lock_nobody_and_go(people, device):
    cookie = people.call(attempts.device_cookie, None, ADA) if device else None
    people.clock[0] += 400 * 86_400_000
    for n in range(25):
        enter(people, f"{n:06d}", "192.0.2.1" if n < 5 else f"198.51.{n}.1", device=cookie)
    people.clock[0] -= 400 * 86_400_000
    assert len(enter(people, code_of(people.secret, people.clock[0]), device=cookie)) > 20
    people.call(sign_in.sweep, people.clock[0])
    assert people.one("SELECT COUNT(*) FROM login_attempts") == 0


def test_a_right_password_without_a_code_stands_in_the_log_once_in_15_minutes(people, monkeypatch):
    monkeypatch.setattr("app.services.audit.now_ms", lambda: people.clock[0])
    for n in (1, 1, 2):
        assert enter(people, None, f"198.51.100.{n}") == "code needed"
    people.clock[0] += attempts.WINDOW_MS + 61_000
    enter(people, None, "198.51.100.2")
    rows = people.connection.fetch_all("SELECT actor, subject, result FROM audit WHERE action = 'password right, code missing' ORDER BY id")
    assert [tuple(row) for row in rows] == [("198.51.100.1/32", ADA, "attempts: 2"), ("198.51.100.2/32", ADA, "attempts: 1"), ("198.51.100.2/32", ADA, "attempts: 1")]
    people.change("UPDATE audit SET at_ms = 1 WHERE action LIKE 'password right%'")
    people.call(sign_in.sweep, people.clock[0])
    assert people.one("SELECT COUNT(*) FROM audit WHERE action LIKE 'password right%'") == 0


def test_strangers_without_the_password_do_not_use_up_the_codes(people):
    for n in range(30):
        people.call(sign_in.sign_in, ADA, "guess", f"198.51.{n}.1", code="000000")
    assert len(enter(people, code_of(people.secret, people.clock[0]), "192.0.2.9")) > 20
    assert people.call(accounts.people)[0].failures == 30


def test_a_right_password_does_not_forgive_wrong_codes(people):
    for n in range(4):
        assert enter(people, f"{n:06d}") == "wrong code" and enter(people, None) == "code needed"
    assert enter(people, "999999") == "wrong code" and enter(people, None) is None


def test_the_cookie_of_a_known_browser_holds_for_a_year(people, monkeypatch):
    assert attempts.DEVICE_S == 365 * 86_400
    cookie, account = people.call(attempts.device_cookie, None, ADA), attempts.account_key(ADA)
    assert people.call(attempts.place_of, account, cookie)
    monkeypatch.setattr(attempts, "DEVICE_S", -1)
    assert people.call(attempts.place_of, account, cookie) is None, "one that was copied gives guesses for no longer"
