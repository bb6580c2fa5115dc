"""Codes of a second factor: their time, each once, limits, recovery codes; on both databases, with a clock of our own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest

from app.extensions import db
from app.models import Audit, User, UserSession
from app.services.audit import ActionRefused
from app.services.people import accounts, attempts, own, passwords, second_factor, sign_in, tokens
from tests.conftest import PASSWORD

ADA, BOB = "ada@example.org", "bob@example.org"
HERE = sign_in.Visitor("192.0.2.1", browser="mine")


@pytest.fixture
def people(ledger, monkeypatch):
    """`call(f)` runs f in a context of its own; `clock[0]` is the time; Ada has a second factor, of `secret`."""
    clock = [1_800_000_000_000]
    for module in (sign_in, second_factor, own, accounts):
        monkeypatch.setattr(module, "now_ms", lambda: clock[0])
    monkeypatch.setattr(passwords, "check_password_hash", lambda _hash, password: password == PASSWORD)

    def call(function, *args, **kwargs):
        with ledger.app.app_context():
            try:
                return function(*args, **kwargs)
            finally:
                db.session.remove()

    ledger.call, ledger.clock = call, clock
    for email in (ADA, BOB):
        call(accounts.create_user, email, "super-admin", PASSWORD)
    ledger.ids = {email: ledger.one("SELECT id FROM users WHERE email = :e", e=email) for email in (ADA, BOB)}
    ledger.secret, ledger.recovery = turn_on(ledger, ADA)
    clock[0] += 60_000
    return ledger


def turn_on(people, email: str) -> tuple[str, list[str]]:
    id_ = people.ids[email]
    assert people.call(second_factor.begin, id_)
    secret = people.call(second_factor.pending, id_).secret.replace(" ", "")
    return secret, people.call(own.turn_on, id_, PASSWORD, code_of(secret, people.clock[0]), HERE, "kept")


def code_of(secret: str, ms: int) -> str:
    return pyotp.TOTP(secret).at(ms // 1000)


def enter(people, code: str | None, address: str = "192.0.2.1", **more):
    """The token, None, or "code needed" and "wrong code"."""
    try:
        return people.call(sign_in.sign_in, ADA, PASSWORD, address, code=code, **more)
    except sign_in.CodeNeeded as needed:
        return "wrong code" if needed.wrong else "code needed"


def test_a_right_password_alone_makes_no_session(people):
    assert enter(people, None) == "code needed"
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 0
    assert people.call(sign_in.sign_in, ADA, "wrong one", "192.0.2.1", code=code_of(people.secret, people.clock[0])) is None
    token = enter(people, code_of(people.secret, people.clock[0]))
    assert people.call(sign_in.load_session, token).email == ADA
    assert people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.1"), "others sign in as ever"


@pytest.mark.parametrize("skew_s,right", [(-61, False), (-30, True), (0, True), (30, True), (61, False)])
def test_a_clock_may_be_one_step_off(people, skew_s, right):
    people.clock[0] = people.clock[0] // 30_000 * 30_000 + 15_000
    found = enter(people, code_of(people.secret, people.clock[0] + skew_s * 1000))
    assert (found not in ("wrong code", None)) is right


def test_each_step_counts_once_also_the_one_that_turned_it_on(people):
    people.clock[0] -= 60_000
    assert enter(people, code_of(people.secret, people.clock[0])) == "wrong code"
    people.clock[0] += 60_000
    code = code_of(people.secret, people.clock[0])
    assert len(enter(people, code)) > 20 and enter(people, code) == "wrong code"
    assert enter(people, code_of(people.secret, people.clock[0] - 30_000)) == "wrong code", "an older step is no way back"
    assert len(enter(people, code_of(people.secret, people.clock[0] + 30_000))) > 20


@pytest.mark.parametrize("recovery", [False, True])
def test_of_ten_who_send_one_code_at_once_one_comes_in(people, recovery):
    code, start = people.recovery[3] if recovery else code_of(people.secret, people.clock[0]), threading.Barrier(10)

    def send(n: int):
        start.wait()
        return enter(people, code, f"192.0.2.{n}")

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(send, range(10)))
    assert sorted(map(len, found))[-1] > 20 and found.count("wrong code") == 9
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 1


def test_recovery_codes_count_once_each_are_hashed_and_are_told_in_the_log(people):
    assert len(set(people.recovery)) == 10
    stored = people.one("SELECT recovery_codes FROM users WHERE email = :e", e=ADA)
    assert not any(code in stored or code.replace("-", "") in stored for code in people.recovery)
    typed = people.recovery[0].upper().replace("-", " ")
    assert len(enter(people, f" {typed} ")) > 20 and enter(people, people.recovery[0]) == "wrong code"
    assert people.call(second_factor.codes_left, people.ids[ADA]) == 9
    with people.app.app_context():
        rows = [(r.action, r.result) for r in db.session.scalars(db.select(Audit))]
    assert ("use recovery code", "left: 9") in rows
    new = people.call(own.change_factor, people.ids[ADA], PASSWORD, people.recovery[1], HERE, False)
    assert enter(people, people.recovery[2]) == "wrong code" and len(enter(people, new[0])) > 20


def test_a_token_takes_password_and_code_and_a_new_password_ends_it_unless_it_is_kept(people):
    def make(email: str, password: str, code: str, name: str = "t"):
        return people.call(own.make_token, people.ids[email], password, code, HERE, name, ["read"], people.clock[0] + 10**9, email)

    code = code_of(people.secret, people.clock[0])
    for given, field in ((("wrong", code), "password"), ((PASSWORD, ""), "passcode"), ((PASSWORD, "000000"), "passcode")):
        with pytest.raises(own.FieldError) as error:
            make(ADA, *given)
        assert error.value.name == field
    assert make(ADA, PASSWORD, code).startswith("ainj_")
    with pytest.raises(own.FieldError, match="used before"):
        make(ADA, PASSWORD, code)
    with pytest.raises(own.FieldError, match="not your password"):
        make(BOB, "wrong", "")
    assert make(BOB, PASSWORD, "") and people.one("SELECT COUNT(*) FROM api_tokens") == 2
    assert people.call(own.change_password, people.ids[BOB], PASSWORD, "another good password", HERE, "x", revoke=False) == (0, 0)
    assert people.call(own.change_password, people.ids[BOB], PASSWORD, "one more good password", HERE, "x") == (0, 1)
    assert people.one("SELECT COUNT(*) FROM api_tokens WHERE revoked_ms IS NULL") == 1, "Ada's"


def test_a_code_is_not_used_up_when_the_token_is_refused(people, monkeypatch):
    monkeypatch.setattr(tokens, "MOST_TOKENS", 0)
    code = code_of(people.secret, people.clock[0])
    with pytest.raises(ActionRefused, match="Revoke one first"):
        people.call(own.make_token, people.ids[ADA], PASSWORD, code, HERE, "t", ["read"], people.clock[0] + 10**9, ADA)
    assert len(enter(people, code)) > 20


def state_of(people, browser: str = "mine") -> str:
    with pytest.raises(sign_in.CodeNeeded) as needed:
        people.call(sign_in.sign_in, ADA, PASSWORD, "192.0.2.1", browser=browser)
    return needed.value.state


def test_a_state_is_of_one_browser_one_password_and_five_minutes(people):
    code, state = code_of(people.secret, people.clock[0]), state_of(people)

    def with_code(state: str | None, browser: str = "mine"):
        return people.call(sign_in.with_code, state, code, sign_in.Visitor("192.0.2.1", browser=browser))

    for wrong, browser in ((state, "another"), (state[:-3] + "abc", "mine"), ("", "mine"), (None, "mine")):
        with pytest.raises(sign_in.StateOver):
            with_code(wrong, browser)
    people.clock[0] += sign_in.STATE_MS
    with pytest.raises(sign_in.StateOver):
        with_code(state)
    people.clock[0] -= sign_in.STATE_MS
    for change, back in ((lambda: accounts.disable(ADA), lambda: accounts.enable(ADA)), (lambda: accounts.set_password(ADA, "another good password"), lambda: None)):
        state = state_of(people)
        people.call(change)
        with pytest.raises(sign_in.StateOver):
            with_code(state)
        people.call(back)
    assert with_code(state_of(people))


def test_a_password_that_was_changed_while_it_was_compared_opens_nothing(people, monkeypatch):
    def slow(_hash, password):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(people.call, accounts.set_password, BOB, "another good password").result()
        return password == PASSWORD

    monkeypatch.setattr(passwords, "check_password_hash", slow)
    assert people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.1") is None


def test_it_is_turned_on_with_password_and_code_only_and_other_sessions_end(people):
    kept, other = (people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.1") for _ in range(2))
    id_ = people.ids[BOB]
    with pytest.raises(ActionRefused, match="begin again"):
        people.call(own.turn_on, id_, PASSWORD, "123456", HERE, kept)
    people.call(second_factor.begin, id_)
    secret = people.call(second_factor.pending, id_).secret.replace(" ", "")
    code = code_of(secret, people.clock[0])
    for password, given in ((PASSWORD, "000000"), ("wrong", code)):
        with pytest.raises(own.FieldError):
            people.call(own.turn_on, id_, password, given, HERE, kept)
    assert not people.call(second_factor.is_on, id_) and people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.7")
    people.clock[0] += second_factor.PENDING_MS + 1000
    assert people.call(second_factor.pending, id_) is None
    with pytest.raises(ActionRefused, match="begin again"):
        people.call(own.turn_on, id_, PASSWORD, code_of(secret, people.clock[0]), HERE, kept)
    people.call(second_factor.begin, id_)
    assert people.call(second_factor.pending, id_).secret.replace(" ", "") != secret
    people.clock[0] += attempts.WINDOW_MS
    secret = people.call(second_factor.pending, id_).secret.replace(" ", "")
    assert len(people.call(own.turn_on, id_, PASSWORD, code_of(secret, people.clock[0]), HERE, kept)) == 10
    assert people.call(sign_in.load_session, kept) and people.call(sign_in.load_session, other) is None
    assert people.call(second_factor.pending, id_) is None, "what is on is shown no more"
    assert people.call(second_factor.begin, id_) is False


def test_it_is_turned_off_with_password_and_code_and_reset_by_others(people):
    id_ = people.ids[ADA]
    for password, code in (("wrong", people.recovery[0]), (PASSWORD, "x")):
        with pytest.raises(own.FieldError):
            people.call(own.change_factor, id_, password, code, HERE, True)
    assert people.call(own.change_factor, id_, PASSWORD, code_of(people.secret, people.clock[0]), HERE, True) == []
    assert len(enter(people, None)) > 20
    people.clock[0] += 60_000
    turn_on(people, ADA)
    token = enter(people, None)
    assert token == "code needed"
    people.call(second_factor.reset, ADA, "cli:test")
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 0 and len(enter(people, None)) > 20
    with pytest.raises(ActionRefused, match="no second factor"):
        people.call(second_factor.reset, ADA)
    with people.app.app_context():
        assert ("cli:test", "reset second factor", ADA) in [(r.actor, r.action, r.subject) for r in db.session.scalars(db.select(Audit))]


@pytest.mark.parametrize("damage", ["totp_secret = 'x'", "totp_secret = NULL", "recovery_codes = '{'", "recovery_codes = '[1, null]'"])
def test_what_cannot_be_read_is_no_code_and_no_error(people, damage):
    people.change(f"UPDATE users SET {damage} WHERE email = :e", e=ADA)
    totp, recovery = enter(people, code_of(people.secret, people.clock[0])), enter(people, people.recovery[0])
    assert (totp == "wrong code") is damage.startswith("totp") and (recovery == "wrong code") is damage.startswith("recovery")


def test_a_secret_of_another_row_opens_nothing_and_a_changed_key_is_replaced(people):
    turn_on(people, BOB)
    people.change("UPDATE users SET totp_secret = (SELECT totp_secret FROM users WHERE email = :b) WHERE email = :a", a=ADA, b=BOB)
    people.clock[0] += 60_000
    assert enter(people, code_of(people.secret, people.clock[0])) == "wrong code"
    with people.app.app_context():
        assert second_factor._opened(db.session.scalar(db.select(User).where(User.email == ADA))) is None
        stored = [r.totp_secret for r in db.session.scalars(db.select(User))]
    assert not any(people.secret in text for text in stored)


def test_own_password_ends_the_other_sessions_and_is_limited(people):
    id_, (mine, other) = people.ids[BOB], [people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.1") for _ in range(2)]
    for old, new, name in (("wrong", "another good password", "password"), (PASSWORD, "password", "new_password"), (PASSWORD, PASSWORD, "new_password")):
        with pytest.raises(own.FieldError) as error:
            people.call(own.change_password, id_, old, new, HERE, mine)
        assert error.value.name == name
    people.change("DELETE FROM login_attempts")
    assert people.call(own.change_password, id_, PASSWORD, "another good password", HERE, mine) == (1, 0)
    assert people.call(sign_in.load_session, mine) and people.call(sign_in.load_session, other) is None
    for _ in range(5):
        with pytest.raises(own.FieldError, match="not your password"):
            people.call(own.change_password, id_, "wrong", "another good word", HERE, mine)
    with pytest.raises(own.FieldError, match="too many"):
        people.call(own.change_password, id_, PASSWORD, "another good word", HERE, mine)
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 1


def test_a_password_that_was_changed_elsewhere_while_this_one_was_hashed_stays(people, monkeypatch):
    monkeypatch.setattr(own, "hash_password", lambda _new, email: (people.change("UPDATE users SET password_hash = 'theirs' WHERE email = :e", e=email), "mine")[1])
    with pytest.raises(ActionRefused, match="changed elsewhere"):
        people.call(own.change_password, people.ids[BOB], PASSWORD, "another good password", HERE, "kept")
    assert people.one("SELECT password_hash FROM users WHERE email = :e", e=BOB) == "theirs"


def test_nobody_ends_the_session_of_another(people):
    people.call(sign_in.sign_in, BOB, PASSWORD, "192.0.2.1")
    with people.app.app_context():
        session = db.session.scalar(db.select(UserSession.id))
    for number in (session, 0, 2**63 - 1):
        with pytest.raises(ActionRefused):
            people.call(own.end_session, people.ids[ADA], number)
    people.call(own.end_session, people.ids[BOB], session)
    assert people.one("SELECT COUNT(*) FROM user_sessions") == 0
