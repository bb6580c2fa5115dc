"""Sign-in and the sessions that come of it.

sign_in: one short transaction counts and writes the attempt -> the hash is compared outside any transaction
      -> another transaction writes the session and the row of the log
The attempt is written before the password is compared, so forty attempts at once get as many tries as forty in a row.
Every failure gives the same answer after the same time.

Limits in 15 minutes: 5 attempts for an account from a network; 20 from a network, then one every 45 s (strangers behind
the same address must not lock out everybody); 20 for a browser that has signed in to this account before, whatever
others do.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import secrets

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import Update, and_, delete, func, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.elements import ColumnElement

from app.extensions import db, short_wait
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models import ApiToken, Audit, LoginAttempt, User, UserSession
from app.services.audit import audit, commit_audited
from app.services.people import kept_forms
from app.services.people.passwords import matches
from app.support import disk, outage
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now_ms
from app.support.messages import Message, to_json
from app.support.redaction import printable
from app.support.settings import settings

WINDOW_MS, PER_ACCOUNT, PER_NETWORK, PER_DEVICE, SLOW_MS = 15 * MINUTE_MS, 5, 20, 20, 45_000
IDLE_MS, AGE_MS, SEEN_EVERY_MS, SEEN_WAIT_MS = 12 * HOUR_MS, 7 * DAY_MS, MINUTE_MS, 250
DEVICE_S, DEVICE_ACCOUNTS = 365 * 86_400, 5
MOST_NOTED = 50  # rows about failures in 15 minutes; further failures are counted in one row
KEEP_FAILURES_MS = 30 * DAY_MS
KEEP_TOKENS_MS = 90 * DAY_MS  # after their end
FAILED = Message("sign-in failed")


def network_of(address: str | None) -> str:
    """The /32 of an IPv4 address or the /64 of an IPv6 address, as text; 'unknown' for anything else."""
    try:
        ip = ipaddress.ip_address((address or "").split("%")[0])
    except ValueError:
        return "unknown"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((ip, 32 if ip.version == 4 else 64), strict=False))


def digest(text_: str) -> str:
    """The SHA-256 (hex) under which ids of sessions and tokens are kept."""
    return hashlib.sha256(text_.encode("utf-8", "replace")).hexdigest()


# ---- the browser that has signed in before ----------------------------------------------------------------------


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings().keys("device")[::-1])


def _device(cookie: str | None) -> tuple[str, list[str]]:
    """Id of the browser and the accounts it has signed in to; a new id when we have not signed the cookie."""
    with contextlib.suppress(BadSignature, ValueError, TypeError, KeyError):
        found = _signer().loads(cookie or "", max_age=DEVICE_S)
        return str(found["d"])[:32], [str(account) for account in found["a"]]
    return secrets.token_hex(8), []


def device_cookie(cookie: str | None, email: str) -> str:
    """The new cookie of a browser that has just signed in to this account; it names its last five accounts."""
    device, accounts = _device(cookie)
    mine = account_key(email)[:20]
    return _signer().dumps({"d": device, "a": [mine, *(a for a in accounts if a != mine)][:DEVICE_ACCOUNTS]})


# ---- sign-in ----------------------------------------------------------------------------------------------------


def account_key(email: str) -> str:
    """The SHA-256 (hex) that stands for an account in attempts and cookies."""
    return digest(email.strip().lower())


def sign_in(email: str, password: str, address: str | None, previous: str | None = None, agent: str | None = None,
            device: str | None = None) -> str | None:
    """The token of a new session, or None. `previous` is the token of the browser's old session, which ends; `device`
    is its cookie of earlier sign-ins. On a full disk the reserve is freed once, so that people can sign in and make
    room."""
    account, network = account_key(email), network_of(address)
    known_device, accounts = _device(device)
    place = f"device:{known_device}" if account[:20] in accounts else None
    attempt = _with_room(lambda: _reserve(account, network, place, now_ms()))
    if attempt is None:
        return None
    user = db.session.scalar(select(User).where(User.email == email.strip().lower(), User.disabled_ms.is_(None)))
    known, user_id, name = (user.password_hash, user.id, user.email) if user else (None, None, None)
    db.session.rollback()  # no transaction is open while hashing
    if not matches(known, password) or user_id is None or name is None:
        _with_room(lambda: _note_failure(name, network, now_ms()))
        return None
    token = secrets.token_urlsafe(32)
    _with_room(lambda: _begin_session(token, user_id, name, network, previous, agent, attempt))
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


def _reserve(account: str, network: str, device: str | None, now: int) -> int | None:
    """Write the attempt and return its id; None when there were too many. Attempts run one at a time, also on
    PostgreSQL, because each first writes the same row."""
    counts.save(SessionExecutor(db.session), "sign-ins", now)

    def tried(*where) -> int:
        lately = LoginAttempt.at_ms > now - WINDOW_MS
        return db.session.scalar(select(func.count()).where(lately, *where))

    place = device or network
    if not device or tried(LoginAttempt.network == device, LoginAttempt.account == account) >= PER_DEVICE:
        place, here = network, LoginAttempt.network == network
        latest = db.session.scalar(select(func.max(LoginAttempt.at_ms)).where(here)) or 0
        slowed = tried(here) >= PER_NETWORK and now - latest < SLOW_MS
        if slowed or tried(here, LoginAttempt.account == account) >= PER_ACCOUNT:
            db.session.rollback()
            return None
    row = LoginAttempt(account=account, network=place, at_ms=now)
    db.session.add(row)
    db.session.commit()
    return row.id


def _begin_session(token: str, user_id: int, email: str, network: str, previous: str | None, agent: str | None,
                   attempt: int) -> None:
    now, shown = now_ms(), printable(agent or "")[:200] or None
    from_here = and_(LoginAttempt.account == account_key(email), LoginAttempt.network == network)
    db.session.execute(delete(LoginAttempt).where(or_(LoginAttempt.id == attempt, from_here)))
    if previous:
        db.session.execute(delete(UserSession).where(UserSession.token_hash == digest(previous)))
    row = {"token_hash": digest(token), "user_id": user_id, "created_ms": now, "seen_ms": now}
    db.session.add(UserSession(**row, agent=shown, network=network))
    commit_audited(email, Message("sign in"), email, network)


def _note_failure(email: str | None, network: str, now: int) -> None:
    """Write one row for each account and network in 15 minutes, with the number of failures: nobody can fill the log.
    An address without an account is not stored, because people type passwords there."""
    counts.save(SessionExecutor(db.session), "sign-ins", now)
    lately = select(Audit).where(Audit.action == FAILED, Audit.at_ms > now - WINDOW_MS)
    who, subject = network, email or Message("unknown account")
    row = db.session.scalar(lately.where(Audit.actor == who, Audit.subject == subject).limit(1))
    if row is None and db.session.scalar(select(func.count()).select_from(lately.subquery())) >= MOST_NOTED:
        who, subject = "many networks", Message("many accounts")
        row = db.session.scalar(lately.where(Audit.actor == who, Audit.subject == subject).limit(1))
    if row is None:
        audit(who, FAILED, subject, Message("attempts: %(n)s", n=1))
    else:
        row.times += 1
        row.result = Message("attempts: %(n)s", n=row.times)
        row.result_json = to_json(row.result)
    db.session.commit()


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
    if row is None or row.user.disabled_ms is not None or now - row.seen_ms > IDLE_MS or now - row.created_ms > AGE_MS:
        return None
    if alone and not polling and now - row.seen_ms > SEEN_EVERY_MS:
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
    return and_(UserSession.seen_ms >= now - IDLE_MS, UserSession.created_ms >= now - AGE_MS)


def write_aside(statement: Update) -> None:
    """Run a statement in a transaction of its own; a page does not wait for a busy database."""
    with contextlib.suppress(OperationalError), db.engine.connect() as connection, short_wait(connection, SEEN_WAIT_MS):
        connection.execution_options(begin="BEGIN IMMEDIATE").execute(statement)
        connection.commit()


def sweep(now: int) -> None:
    """Delete sessions that are over, attempts past their window, rows about failed sign-ins past 30 days, tokens
    90 days after their end, and forms that are kept no longer."""
    db.session.execute(delete(UserSession).where(~living(now)))
    db.session.execute(delete(LoginAttempt).where(LoginAttempt.at_ms < now - WINDOW_MS))
    db.session.execute(delete(Audit).where(Audit.action == FAILED, Audit.at_ms < now - KEEP_FAILURES_MS))
    db.session.execute(delete(ApiToken).where(ApiToken.expires_ms < now - KEEP_TOKENS_MS))
    kept_forms.expire(now)
    db.session.commit()
