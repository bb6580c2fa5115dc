"""Sign-in and the sessions that come of it.

sign_in: one short transaction counts and writes the attempt (attempts.py) -> the hash is compared outside any
      transaction -> another transaction writes the session and the row of the log
with a second factor: CodeNeeded(state) in place of a session -> with_code: the code is used up in the transaction that
      writes the session (second_factor.accept), for which the row of the account is locked
The attempt is written before the password is compared, so forty attempts at once get as many tries as forty in a row.
Every failure gives the same answer after the same time; only a right password learns that a code is needed. `state`
names account, password and browser, signed, for 5 minutes; it opens nothing but the question for the code.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Update, and_, delete, func, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.elements import ColumnElement

from app.extensions import db, short_wait
from app.models import ApiToken, Audit, Invitation, LoginAttempt, User, UserSession
from app.services.audit import audit
from app.services.people import kept_forms, second_factor
from app.services.people.attempts import (
    FAILED,
    NO_CODE,
    account_key,
    codes_over,
    digest,
    lately,
    network_of,
    note_failure,
    place_of,
    reserve,
    wrong_code,
)
from app.services.people.passwords import matches
from app.support import disk, outage
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now_ms
from app.support.messages import Message
from app.support.redaction import printable
from app.support.settings import settings

IDLE_MS, AGE_MS, SEEN_EVERY_MS, SEEN_WAIT_MS = 12 * HOUR_MS, 7 * DAY_MS, MINUTE_MS, 250
KEEP_MS = 30 * DAY_MS  # rows about failures, and invitations that are over
KEEP_TOKENS_MS = 90 * DAY_MS  # after their end
STATE_MS = 5 * MINUTE_MS


class CodeNeeded(Exception):
    """The password is right, and the account has a second factor. `state` is what `with_code` takes; `wrong`: a code
    was sent, and it is none."""

    def __init__(self, state: str, wrong: bool) -> None:
        super().__init__("a code is needed")
        self.state, self.wrong = state, wrong


class StateOver(Exception):
    """The 5 minutes for the code are over, or the account has changed: the password is asked for again."""


@dataclass(frozen=True)
class Visitor:
    """A browser that wants to sign in. `previous` is the token of its old session, which ends; `device` its cookie of
    earlier sign-ins; `browser` a text that only this browser has."""

    address: str | None
    previous: str | None = None
    agent: str | None = None
    device: str | None = None
    browser: str = ""


def sign_in(email: str, password: str, address: str | None, previous: str | None = None, agent: str | None = None,
            device: str | None = None, browser: str = "", code: str | None = None) -> str | None:
    """The token of a new session, or None. On a full disk the reserve is freed once, so that people can sign in and
    make room. Raises CodeNeeded behind a right password."""
    visitor = Visitor(address, previous, agent, device, browser)
    account, network = account_key(email), network_of(address)
    attempt = _with_room(lambda: reserve(account, network, place_of(account, device), now_ms()))
    if attempt is None:
        return None
    user = db.session.scalar(select(User).where(User.email == email.strip().lower(), User.disabled_ms.is_(None)))
    known, user_id, name = (user.password_hash, user.id, user.email) if user else (None, None, None)
    db.session.rollback()  # no transaction is open while hashing
    if not matches(known, password) or user_id is None or name is None:
        _with_room(lambda: note_failure(name, network, now_ms()))
        return None
    return _enter(user_id, _mark(known), visitor, attempt, code)


def with_code(state: str | None, code: str, visitor: Visitor) -> str | None:
    """The token of a new session for the state of a CodeNeeded and a right code; None after too many attempts. Raises
    CodeNeeded for a wrong code, StateOver."""
    user = awaited(state, visitor.browser)
    if user is None:
        raise StateOver
    id_, mark, account = user.id, _mark(user.password_hash), account_key(user.email)
    place = place_of(account, visitor.device)
    attempt = _with_room(lambda: reserve(account, network_of(visitor.address), place, now_ms()))
    return None if attempt is None else _enter(id_, mark, visitor, attempt, code)


def awaited(state: str | None, browser: str) -> User | None:
    """The account whose code a state waits for; None when it is over, of another browser, or the account has
    changed."""
    with contextlib.suppress(BadSignature, ValueError, TypeError):
        id_, mark, of, at = _states().loads(state or "")
        user = db.session.get(User, id_) if of == digest(browser) and abs(now_ms() - at) < STATE_MS else None
        if user and user.disabled_ms is None and user.totp_on_ms is not None and _mark(user.password_hash) == mark:
            return user
    return None


def _states() -> URLSafeSerializer:
    return URLSafeSerializer(settings().keys("second page")[::-1])


def _mark(password_hash: str | None) -> str:
    """What a password is recognised by in a state: half a hash of its hash."""
    return digest(f"mark {password_hash}")[:32]


def _enter(user_id: int, mark: str, visitor: Visitor, attempt: int, code: str | None) -> str | None:
    token = _with_room(lambda: _begin_session(user_id, mark, visitor, attempt, code))
    if token:
        forget_first_password(user_id)
        db.session.rollback()
    return token


def _with_room(change):
    """Run a change of a few rows; on a full disk free the reserve and run it once more."""
    try:
        return change()
    except OperationalError as error:
        db.session.rollback()
        if outage.kind_of(error) != outage.FULL:
            raise
        disk.free_reserve(settings().data_dir)
        return change()


def _begin_session(user_id: int, mark: str, visitor: Visitor, attempt: int, code: str | None) -> str | None:
    """Write the session of an account that is still as its password was compared; raises CodeNeeded."""
    now, network = now_ms(), network_of(visitor.address)
    user = db.session.scalar(select(User).where(User.id == user_id, User.disabled_ms.is_(None)).with_for_update()
                             .execution_options(populate_existing=True))
    if user is None or _mark(user.password_hash) != mark:
        db.session.rollback()
        return None
    if user.totp_on_ms is not None:
        needed = CodeNeeded(_states().dumps([user.id, mark, digest(visitor.browser), now]), code is not None)
        if code is None:
            db.session.execute(delete(LoginAttempt).where(LoginAttempt.id == attempt))
            note_failure(user.email, network, now, NO_CODE)
            raise needed
        if codes_over(user.email, visitor.device, now):
            db.session.rollback()
            return None
        if not second_factor.accept(user, code, now):
            wrong_code(user.email, visitor.device, now)
            note_failure(user.email, network, now)
            raise needed
    from_here = and_(LoginAttempt.account == account_key(user.email), LoginAttempt.network == network)
    db.session.execute(delete(LoginAttempt).where(or_(LoginAttempt.id == attempt, from_here)))
    token = add_session(user, visitor, now)
    db.session.commit()
    return token


def add_session(user: User, visitor: Visitor, now: int) -> str:
    """Add a session and its row of the log, in the caller's transaction; returns its token."""
    token, network = secrets.token_urlsafe(32), network_of(visitor.address)
    shown = printable(visitor.agent or "")[:200] or None
    if visitor.previous:
        db.session.execute(delete(UserSession).where(UserSession.token_hash == digest(visitor.previous)))
    row = {"token_hash": digest(token), "user_id": user.id, "created_ms": now, "seen_ms": now}
    db.session.add(UserSession(**row, agent=shown, network=network))
    audit(user.email, Message("sign in"), user.email, network)
    return token


def forget_first_password(user_id: int) -> None:
    """Delete the file that run.sh wrote, once its account has signed in or has another password."""
    if user_id == db.session.scalar(select(func.min(User.id))):
        with contextlib.suppress(OSError):
            (settings().data_dir / "first-password").unlink(missing_ok=True)


# ---- sessions ---------------------------------------------------------------------------------------------------


def sign_out(token: str) -> None:
    """End a session, also on a full disk."""
    def change() -> None:
        row = db.session.scalar(select(UserSession).where(UserSession.token_hash == digest(token)))
        if row is not None:
            audit(row.user.email, Message("sign out"), row.user.email, row.network or "–")
            db.session.delete(row)
        db.session.commit()

    _with_room(change)


def load_session(token: str, polling: bool = False) -> User | None:
    """The user of a session; None after 12 h idle or 7 days, or when disabled. Polling does not extend it."""
    alone, row, now = not db.session().in_transaction(), find_session(token), now_ms()
    if row is None or row.user.disabled_ms is not None or not (
            abs(now - row.seen_ms) <= IDLE_MS and abs(now - row.created_ms) <= AGE_MS):
        return None
    if alone and not polling and abs(now - row.seen_ms) > SEEN_EVERY_MS:
        id_, user = row.id, row.user
        db.session.rollback()  # the transaction of a POST has SQLite's write lock, which `write_aside` needs
        write_aside(update(UserSession).where(UserSession.id == id_).values(seen_ms=now))
        return user
    return row.user


def find_session(token: str) -> UserSession | None:
    """The row of a session, also of one that is over; None when there is none."""
    return db.session.scalar(select(UserSession).where(UserSession.token_hash == digest(token)))


def living(now: int) -> ColumnElement[bool]:
    """The SQL condition of the sessions that are not over at `now` (ms)."""
    return and_(UserSession.seen_ms.between(now - IDLE_MS, now + IDLE_MS),
                UserSession.created_ms.between(now - AGE_MS, now + AGE_MS))


def write_aside(statement: Update) -> None:
    """Run a statement in a transaction of its own; a page does not wait for a busy database."""
    with contextlib.suppress(OperationalError), db.engine.connect() as connection, short_wait(connection, SEEN_WAIT_MS):
        connection.execution_options(begin="BEGIN IMMEDIATE").execute(statement)
        connection.commit()


def sweep(now: int) -> None:
    """Delete sessions that are over, attempts out of their window, rows about failed sign-ins past 30 days, invitations
    that have been over for as long, tokens 90 days after their end, and forms that are kept no longer."""
    db.session.execute(delete(UserSession).where(~living(now)))
    db.session.execute(delete(LoginAttempt).where(~lately(LoginAttempt.at_ms, now)))
    db.session.execute(delete(Audit).where(Audit.action.in_((FAILED, NO_CODE)), Audit.at_ms < now - KEEP_MS))
    db.session.execute(delete(Invitation).where(Invitation.expires_ms < now - KEEP_MS))
    db.session.execute(delete(ApiToken).where(ApiToken.expires_ms < now - KEEP_TOKENS_MS))
    kept_forms.expire(now)
    db.session.commit()
